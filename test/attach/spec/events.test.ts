import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { addSandbox } from '../../../src/attach/add.ts';
import { parseSettings } from '../../../src/attach/settings.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import { deleteNamedNamespace } from '../../../src/linux/namespace.ts';
import { at, textAt } from '../../../src/playground/api/object.ts';
import { events } from '../../../src/playground/api/resources.ts';
import { until } from '../../kubernetes/playground.ts';
import { testNamespace } from '../../support/namespace.ts';
import { becomeNodeWith } from '../../support/node.ts';
import { macvlan, type Node, startNode } from '../node.ts';

/*
 * What the user of a pod reads in `kubectl describe pod`. The events of what an annotation, a definition, a capability or a
 * default route can have wrong are in the tables of those; here are those of networks that failed.
 */

becomeNodeWith('ens5', 'ens6');

const scripts: Readonly<Record<string, string>> = {
  garbage: 'echo hello',
  crash: 'test $CNI_COMMAND != ADD || { echo "cannot open /etc/circuits" >&2; exit 3; }',
  busy: `test $CNI_COMMAND != ADD || { echo '{"cniVersion":"1.0.0","code":11,"msg":"link not ready","details":"port 7 is down"}'; exit 1; }`,
  stuck: `echo '{"cniVersion":"1.0.0","code":111,"msg":"the circuit hangs","details":"ask the carrier"}'; exit 1`,
};

interface Case {
  readonly what: string;
  readonly definition: (ipam: JsonObject) => JsonObject;
  readonly networks?: string;
  readonly before?: (node: Node) => unknown;
  readonly code: number;
  /** The last event, after "FailedAddingInterface: ". */
  readonly event: string | RegExp;
}

const failed = (type: string, place = 1): string =>
  `network default/a, interface net${place}: plugin type="${type}" name="a" failed (add): `;

const cases: readonly Case[] = [
  {
    what: 'a master that the node does not have',
    definition: (ipam) => macvlan(ipam, '10.1.0.0/24', { master: 'ens9' }),
    code: 7,
    event: `${failed('macvlan')}master "ens9" not found; this node has no interface that could be one`,
  },
  {
    what: 'a value that the plugin does not know',
    definition: (ipam) => macvlan(ipam, '10.1.0.0/24', { mode: 'brigde' }),
    code: 7,
    event: `${failed('macvlan')}network "a": mode: expected bridge, private, vepa or passthru, found "brigde"`,
  },
  {
    what: 'addresses that are used up',
    definition: (ipam) => macvlan({ ...ipam, rangeStart: '10.1.0.5', rangeEnd: '10.1.0.5' }, '10.1.0.0/24'),
    networks: 'a,a',
    code: 999,
    event: `${failed('macvlan', 2)}failed to allocate for range 0: no IP addresses available in range set: 10.1.0.5-10.1.0.5 of network "a": 1 of 1 in use`,
  },
  {
    what: 'an address that is none of the network',
    definition: (ipam) => macvlan(ipam, '10.1.0.0/24', { capabilities: { ips: true } }),
    networks: '[{"name":"a","ips":["10.9.0.1"]}]',
    code: 999,
    event: `${failed('macvlan')}failed to allocate all requested IPs: 10.9.0.1 (network "a" gives one address from each range set: 10.1.0.1-10.1.0.254)`,
  },
  {
    what: 'an IPAM plugin that is not installed',
    definition: () => ({ cniVersion: '1.0.0', type: 'macvlan', master: 'ens6', ipam: { type: 'whereabouts' } }),
    code: 999,
    event:
      /failed to find plugin "whereabouts" in path \[\S+\] \(install the plugin in one of these directories, or correct the type in the configuration\)$/,
  },
  {
    what: 'a plugin that answers what is no result',
    definition: () => ({ cniVersion: '1.0.0', type: 'garbage' }),
    code: 6,
    event: `${failed('garbage')}result of plugin "garbage": line 1, column 1: expected a value, found h, near: hello`,
  },
  {
    what: 'a plugin that ends without an answer, with what it said',
    definition: () => ({ cniVersion: '1.0.0', type: 'crash' }),
    code: 999,
    event: /failed \(add\): \S+\/crash ended with exit status 3 and said: cannot open \/etc\/circuits$/,
  },
  {
    what: "a plugin's own error, with its details",
    definition: () => ({ cniVersion: '1.0.0', type: 'busy' }),
    code: 11,
    event: `${failed('busy')}link not ready (port 7 is down)`,
  },
  {
    what: 'a plugin that cannot undo either',
    definition: () => ({ cniVersion: '1.0.0', type: 'stuck' }),
    code: 111,
    event: `${failed('stuck')}the circuit hangs (ask the carrier; still held: network default/a, interface net1: plugin type="stuck" name="a" failed (delete): the circuit hangs)`,
  },
  {
    what: 'an API server that is away',
    definition: (ipam) => macvlan(ipam, '10.1.0.0/24'),
    networks: 'b',
    before: ({ api }) =>
      api.fault({ match: (_, path) => path.includes('definitions'), times: 9, fail: 'ServiceUnavailable' }),
    code: 11,
    event:
      /^cannot read network-attachment-definition default\/b from the Kubernetes API \(GET \S+ of \S+: 503 ServiceUnavailable: as the test wants it\)$/,
  },
  {
    what: 'a sandbox that is gone, without its name, for the next one has another',
    definition: (ipam) => macvlan(ipam, '10.1.0.0/24'),
    before: ({ sandbox }) => deleteNamedNamespace(sandbox.path),
    code: 8,
    event:
      'network cluster-net, interface eth0: plugin type="macvlan" name="cluster-net" failed (add): failed to open netns "CNI_NETNS": ' +
      'open network namespace CNI_NETNS: no such file or directory (CNI_NETNS must be the path of a network namespace that exists)',
  },
];

async function prepared(options: Parameters<typeof startNode>[0]): Promise<Node> {
  const node = await startNode(options);
  for (const [name, text] of Object.entries(scripts)) {
    await writeFile(join(node.directory, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return node;
}

describe('a pod whose network failed is told', () => {
  for (const { what, definition, networks = 'a', before, code, event } of cases) {
    test(`event FailedAddingInterface: ${what}`, async () => {
      await using node = await prepared((ipam) => ({ networks, definitions: { a: definition(ipam) } }));
      await before?.(node);
      await assert.rejects(node.add(), { code });
      const failures = () =>
        node.api.store.list(events, 'default').filter((each) => textAt(each, 'reason') === 'FailedAddingInterface');
      await until(() => failures().length > 0);
      const told = textAt(failures()[0], 'message');
      if (typeof event === 'string') assert.equal(told, event);
      else assert.match(told, event);
    });
  }
});

test('event AddedInterface: in the words of Multus, all addresses, once each network is there', async () => {
  await using node = await prepared((ipam) => ({
    networks: 'a@data0',
    definitions: {
      a: macvlan({ ...ipam, ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]] }, '10.3.0.0/24', {
        cniVersion: '1.0.0',
      }),
    },
  }));
  await node.add();
  assert.deepEqual(await node.events(2), [
    'AddedInterface: Add eth0 [10.244.0.2/24] from cluster-net',
    'AddedInterface: Add data0 [10.3.0.2/24 10.1.0.2/24 10.2.0.2/24] from default/a',
  ]);
  await node.remove();
});

test('NPWG v1.3 §4.1.2.1: event UnknownNetworkKey: a key that nobody knows is passed over and told, but for those of others', async () => {
  await using node = await prepared((ipam) => ({
    networks: '[{"name":"a","org.example.rack":1},{"name":"a","ip":["10.1.0.9"],"Mac":"","a\\u001b[2J":7}]',
    definitions: { a: macvlan(ipam, '10.1.0.0/24') },
  }));
  await node.add();
  assert.equal(
    (await node.events(4)).at(-1),
    'UnknownNetworkKey: annotation k8s.v1.cni.cncf.io/networks: nobody knows [1].ip, [1]."a\\u001b[2J": passed over; the keys are name, ' +
      'namespace, interface, interfaceRequest, ips, mac, infiniband-guid, portMappings, bandwidth, deviceID, device-id, cni-args, ' +
      'default-route, ipam-claim-reference',
  );
  await node.remove();
});

test('events: a pod that fails each time the runtime tries, in a sandbox of its own, has one event that is counted', async () => {
  await using node = await prepared((ipam) => ({
    networks: 'a',
    defaultNetwork: { cniVersion: '1.0.0', name: 'cluster-net', type: 'faulty' },
    definitions: { a: macvlan(ipam, '10.1.0.0/24', { mtu: 9001 }) },
  }));
  const clusterNetwork = join(node.directory, '10-default.conflist');
  const settings = parseSettings({ clusterNetwork, confDir: node.directory }, 'the test');
  const { cluster, pod } = node;
  for (let tries = 0; tries < 12; tries++) {
    await using sandbox = await testNamespace();
    const attachment = { ...node.attachment, containerId: `sandbox-of-try-${tries}`, netns: sandbox.path };
    await assert.rejects(addSandbox({ attachment, runtimeConfig: {}, settings, cluster, pod }, node.release));
  }
  const counted = () =>
    node.api.store
      .list(events, 'default')
      .map((event) => [textAt(event, 'reason'), Number(at(event, 'count'))] as const);
  await until(() => counted().every(([, count]) => count === 12) && counted().length === 2);
  assert.deepEqual(
    counted().map(([reason]) => reason),
    ['AddedInterface', 'FailedAddingInterface'],
  );
});
