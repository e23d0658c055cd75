import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestedCapabilities } from '../../src/attach/capabilities.ts';
import { readsAnnotation, requireClaimReader } from '../../src/attach/ipam-claim.ts';
import { parseNetworkConfig } from '../../src/cni/config.ts';

const asked = { namespace: 'app', name: 'net-a', ips: ['10.0.0.9'], mac: '02:00:00:00:00:01', ipamClaim: 'vm.a' };

const listOf = (plugin: object) => parseNetworkConfig(JSON.stringify({ name: 'net-a', ...plugin }), 'the test');

test('what a pod asks goes to the plugins that declare it (specification v1.3, 4.1.2)', () => {
  const declared = new Set(['ips', 'mac']);
  assert.deepEqual(requestedCapabilities(asked, declared, false), { ips: ['10.0.0.9'], mac: '02:00:00:00:00:01' });
});

test('what no plugin declares is refused (specification v1.3, 4.1.2), unless one reads the annotation itself', () => {
  assert.throws(() => requestedCapabilities(asked, new Set(['ips']), false), /the pod asks for "mac", but no plugin/);
  assert.deepEqual(requestedCapabilities(asked, new Set(['ips']), true), { ips: ['10.0.0.9'] });
});

test("OVN-Kubernetes' plugin reads the annotation itself, claims included", () => {
  const list = listOf({ type: 'ovn-k8s-cni-overlay', topology: 'layer2' });
  assert.equal(readsAnnotation(list), true);
  requireClaimReader(asked, list);
});

test('others do not, and keep addresses by claims only where they say so', () => {
  const list = listOf({ type: 'macvlan' });
  assert.equal(readsAnnotation(list), false);
  assert.throws(() => requireClaimReader(asked, list), /the pod asks for "ipam-claim-reference"/);
  requireClaimReader(asked, listOf({ type: 'other', allowPersistentIPs: true }));
});
