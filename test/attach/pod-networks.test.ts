import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { parseSettings } from '../../src/attach/settings.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { ip } from '../plugins/support.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type NodeOptions, startNode } from './node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const macvlan = (ipam: JsonObject, subnet: string, more: JsonObject = {}): JsonObject => ({
  cniVersion: '1.0.0',
  type: 'macvlan',
  master: 'ens6',
  ipam: { ...ipam, subnet },
  ...more,
});

interface Case {
  readonly what: string;
  readonly options: (ipam: JsonObject) => NodeOptions;
  /** Name, interface and first address of each status, in order. */
  readonly status: readonly (readonly [name: string, ifName: string, ip: string])[];
}

/** Each is attached, looked at by the pod's status and events, and released. */
function attached(cases: readonly Case[]): void {
  for (const { what, options, status } of cases) {
    test(what, async () => {
      await using node = await startNode(options);
      const before = await node.state();
      await node.add();
      assert.deepEqual(
        node.networkStatus().map(({ name, interface: ifName, ips }) => [name, ifName, Array.isArray(ips) && ips[0]]),
        status,
      );
      assert.deepEqual(
        node.networkStatus().map((entry) => entry['default']),
        status.map((_, index) => (index === 0 ? true : undefined)),
      );
      assert.deepEqual(
        await node.events(status.length),
        status.map(([name, ifName, address]) => `AddedInterface: Add ${ifName} [${address}/24] from ${name}`),
      );
      await node.remove();
      assert.deepEqual(await node.state(), before);
    });
  }
}

const everyPods = (ipam: JsonObject): Readonly<Record<string, JsonObject>> => ({
  'kube-system/audit': macvlan(ipam, '10.8.0.0/24'),
  'kube-system/backup': macvlan(ipam, '10.9.0.0/24'),
  'net-a': macvlan(ipam, '10.1.0.0/24'),
});

describe('defaultNetworks', () => {
  attached([
    {
      what: "come after the default network and before the pod's own",
      options: (ipam) => ({
        networks: 'net-a',
        definitions: everyPods(ipam),
        settings: { defaultNetworks: ['audit', 'backup'] },
      }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['kube-system/audit', 'net1', '10.8.0.2'],
        ['kube-system/backup', 'net2', '10.9.0.2'],
        ['default/net-a', 'net3', '10.1.0.2'],
      ],
    },
    {
      what: 'pass over the interface name that the pod asks for (specification v1.3, 4.1.2.3)',
      options: (ipam) => ({
        networks: 'net-a@net1',
        definitions: everyPods(ipam),
        settings: { defaultNetworks: ['audit'] },
      }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['kube-system/audit', 'net2', '10.8.0.2'],
        ['default/net-a', 'net1', '10.1.0.2'],
      ],
    },
    {
      what: 'are not for pods of systemNamespaces',
      options: (ipam) => ({
        namespace: 'kube-system',
        networks: 'backup',
        definitions: everyPods(ipam),
        settings: { defaultNetworks: ['audit'] },
      }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['kube-system/backup', 'net1', '10.9.0.2'],
      ],
    },
    {
      what: 'are for a pod that only has the name of such a namespace',
      options: (ipam) => ({
        name: 'kube-system',
        definitions: everyPods(ipam),
        settings: { defaultNetworks: ['audit'] },
      }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['kube-system/audit', 'net1', '10.8.0.2'],
      ],
    },
    {
      what: 'are for every pod where no namespace is named',
      options: (ipam) => ({
        namespace: 'kube-system',
        definitions: everyPods(ipam),
        settings: { defaultNetworks: ['audit'], systemNamespaces: [] },
      }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['kube-system/audit', 'net1', '10.8.0.2'],
      ],
    },
  ]);

  test('that are nowhere fail the pod, and the message tells where they were looked for', async () => {
    await using node = await startNode(() => ({ settings: { defaultNetworks: ['audit'] } }));
    const before = await node.state();
    await assert.rejects(node.add(), {
      code: 7,
      message:
        /^pod default\/app: the network defaultNetworks\[0\], "audit", was not found; looked for NetworkAttachmentDefinition kube-system\/audit, then .*the path audit$/,
    });
    assert.deepEqual(await node.state(), before);
  });
});

describe('delegates', () => {
  attached([
    {
      what: 'are the networks of every pod, the first as its default network',
      options: (ipam) => ({
        networks: 'net-a',
        definitions: everyPods(ipam),
        settings: {
          clusterNetwork: '',
          delegates: [
            macvlan(ipam, '10.3.0.0/24', { name: 'inline-a' }),
            { cniVersion: '1.0.0', name: 'inline-b', plugins: [macvlan(ipam, '10.4.0.0/24')] },
          ],
        },
      }),
      status: [
        ['inline-a', 'eth0', '10.3.0.2'],
        ['inline-b', 'net1', '10.4.0.2'],
        ['default/net-a', 'net2', '10.1.0.2'],
      ],
    },
    {
      what: 'count less than clusterNetwork',
      options: (ipam) => ({ settings: { delegates: [macvlan(ipam, '10.3.0.0/24', { name: 'inline-a' })] } }),
      status: [['cluster-net', 'eth0', '10.244.0.2']],
    },
  ]);

  test('that are no network are refused by their place', async () => {
    for (const [delegate, message] of [
      [{ name: 'inline-a' }, /delegates\[0\]: expected plugins, a list of plugins, or type/],
      [{ type: 'macvlan' }, /delegates\[0\]: .*name/],
      [{ name: 'inline-a', type: 'multus' }, /expected a network plugin, found "multus"/],
    ] as const) {
      await using node = await startNode(() => ({ settings: { clusterNetwork: '', delegates: [delegate] } }));
      await assert.rejects(node.add(), { code: 7, message });
    }
  });

  test('or clusterNetwork have to be there', () => {
    assert.throws(() => parseSettings({ clusterNetwork: '' }, 'the test'), {
      code: 7,
      message:
        'the test: clusterNetwork: expected the name or the file of the default network; or "delegates", a list that begins with its configuration',
    });
  });
});
