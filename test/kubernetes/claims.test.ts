import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { claimedDevices } from '../../src/kubernetes/claims.ts';
import { podSchema } from '../../src/kubernetes/schemas.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import { onEachServer, type Running } from './server.ts';

const options = { timeout: 60_000 };

const never = new AbortController().signal;

const claims = '/apis/resource.k8s.io/v1/namespaces/default/resourceclaims';
const apiVersion = 'resource.k8s.io/v1';
const driver = 'nics.example.org';

const device = (name: string, attributes: Readonly<Record<string, string>>): JsonObject => ({
  name,
  attributes: Object.fromEntries(
    Object.entries(attributes).map(([key, string]) => [`k8s.cni.cncf.io/${key}`, { string }]),
  ),
});

/** A claim as its user writes it, and what a scheduler adds once it has chosen. */
async function claim({ admin }: Running, name: string, chosen: readonly string[]): Promise<void> {
  const requests = [{ name: 'nic', exactly: { deviceClassName: 'nics', count: Math.max(chosen.length, 1) } }];
  const body = { apiVersion, kind: 'ResourceClaim', metadata: { name }, spec: { devices: { requests } } };
  await admin.ask('POST', claims, body);
  if (chosen.length === 0) return;
  const results = chosen.map((each) => ({ request: 'nic', driver, pool: 'node-1', device: each }));
  const status = { allocation: { devices: { results } } };
  await admin.ask('PATCH', `${claims}/${name}/status`, { status }, 'application/merge-patch+json');
}

async function slice({ admin }: Running, devices: readonly JsonObject[]): Promise<void> {
  const pool = { name: 'node-1', generation: 1, resourceSliceCount: 1 };
  const spec = { driver, nodeName: 'node-1', pool, devices };
  const body = { apiVersion, kind: 'ResourceSlice', metadata: { name: 'node-1-nics' }, spec };
  await admin.ask('POST', '/apis/resource.k8s.io/v1/resourceslices', body);
}

const claiming = {
  ...pod('a'),
  spec: { ...pod('a').spec, resourceClaims: [{ name: 'nic', resourceClaimName: 'nic-1' }] },
};

await onEachServer((server) => {
  const devicesOf = async ({ admin, client }: Running) =>
    claimedDevices(client, podSchema.parse(await admin.get(pods, 'default', 'a')), never);

  test("a pod's claim leads to the devices that a driver offers for networks", options, async () => {
    await using running = await server.start([claiming]);
    await slice(running, [
      device('vf-1', { deviceID: '0000:03:02.1', resourceName: 'intel.com/sriov' }),
      device('vf-2', { deviceID: '0000:03:02.2', resourceName: 'intel.com/sriov' }),
      device('gpu-1', {}),
    ]);
    await claim(running, 'nic-1', ['vf-2', 'gpu-1']);
    assert.deepEqual(await devicesOf(running), [{ resource: 'intel.com/sriov', id: '0000:03:02.2' }]);
  });

  test('a claim that waits for its devices is to be tried again', options, async () => {
    await using running = await server.start([claiming]);
    await claim(running, 'nic-1', []);
    await assert.rejects(devicesOf(running), { code: 11, message: /resource claim default\/nic-1 has no device yet/ });
  });

  test('a claim that does not exist is to be tried again', options, async () => {
    await using running = await server.start([claiming]);
    await assert.rejects(devicesOf(running), { code: 11, message: /resource claim default\/nic-1 does not exist/ });
  });

  test('a pod without claims has no devices of any', options, async () => {
    await using running = await server.start([pod('a')]);
    assert.deepEqual(await devicesOf(running), []);
  });
});
