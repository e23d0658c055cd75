import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSettings } from '../../src/attach/settings.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { becomeNodeWith } from '../support/node.ts';
import { macvlan, type NodeOptions, startNode } from './node.ts';

becomeNodeWith('ens5', 'ens6');

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
      what: 'pass over the interface name that the pod asks for (specification v1.3, 4.1.2.1.5)',
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

const defaultNetwork = 'v1.multus-cni.io/default-network';

describe('the default-network annotation', () => {
  attached([
    {
      what: 'replaces the cluster network by one of multusNamespace',
      options: (ipam) => ({
        networks: 'net-a',
        annotations: { [defaultNetwork]: 'audit' },
        definitions: everyPods(ipam),
        settings: { defaultNetworks: ['backup'] },
      }),
      status: [
        ['kube-system/audit', 'eth0', '10.8.0.2'],
        ['kube-system/backup', 'net1', '10.9.0.2'],
        ['default/net-a', 'net2', '10.1.0.2'],
      ],
    },
    {
      what: 'names a namespace, and in its JSON form an interface',
      options: (ipam) => ({
        annotations: { [defaultNetwork]: '[{"name":"net-a","namespace":"default","interface":"data0"}]' },
        definitions: everyPods(ipam),
      }),
      status: [['default/net-a', 'data0', '10.1.0.2']],
    },
  ]);

  const refused: readonly (readonly [what: string, annotation: string, networks: string, message: RegExp])[] = [
    ['nothing', '', '', /default-network: expected exactly one network, found none/],
    ['an empty list', '[]', '', /default-network: expected exactly one network, found none/],
    ['two networks', 'audit,backup', '', /default-network: expected exactly one network, found 2/],
    ['null', '[null]', '', /annotation v1\.multus-cni\.io\/default-network: \[0\]: /],
    ['a wrong MAC', '[{"name":"audit","mac":"x"}]', '', /default-network: \[0\]\.mac: expected the MAC address/],
    ['a path', '../audit', '', /default-network: item 1, "\.\.\/audit": /],
    ['an interface that is taken', 'audit@net1', 'net-a@net1', /interface name net1 already exists/],
    ['lo', 'audit@lo', '', /interface name lo already exists/],
    ['a network that is not there', 'nowhere', '', /\(nowhere\) in namespace \(kube-system\)/],
    [
      'what it cannot give',
      '[{"name":"audit","mac":"02:00:00:00:00:01"}]',
      '',
      /the pod asks for "mac", but no plugin/,
    ],
  ];
  for (const [what, annotation, networks, message] of refused) {
    test(`refuses ${what}`, async () => {
      await using node = await startNode((ipam) => ({
        networks,
        annotations: { [defaultNetwork]: annotation },
        definitions: everyPods(ipam),
      }));
      const before = await node.state();
      await assert.rejects(node.add(), { code: 7, message });
      assert.deepEqual(await node.state(), before);
      assert.match((await node.events(1)).at(-1) ?? '', /^(FailedAddingInterface|NoNetworkFound): /);
    });
  }
});

describe('namespaceIsolation', () => {
  const settings = { namespaceIsolation: true, globalNamespaces: 'shared, infra' };
  const definitions = (ipam: JsonObject) => ({
    'app/own': macvlan(ipam, '10.1.0.0/24'),
    'infra/storage': macvlan(ipam, '10.2.0.0/24'),
    'net-a': macvlan(ipam, '10.3.0.0/24'),
    'other/secret': macvlan(ipam, '10.4.0.0/24'),
    'kube-system/audit': macvlan(ipam, '10.8.0.0/24'),
  });
  attached([
    {
      what: 'lets a pod use networks of its own namespace, of global ones, and what the administrator gives to all',
      options: (ipam) => ({
        namespace: 'app',
        networks: 'own,infra/storage,default/net-a',
        definitions: definitions(ipam),
        settings: { ...settings, defaultNetworks: ['audit'] },
      }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['kube-system/audit', 'net1', '10.8.0.2'],
        ['app/own', 'net2', '10.1.0.2'],
        ['infra/storage', 'net3', '10.2.0.2'],
        ['default/net-a', 'net4', '10.3.0.2'],
      ],
    },
    {
      what: 'is off unless it is set',
      options: (ipam) => ({ namespace: 'app', networks: 'other/secret', definitions: definitions(ipam) }),
      status: [
        ['cluster-net', 'eth0', '10.244.0.2'],
        ['other/secret', 'net1', '10.4.0.2'],
      ],
    },
  ]);

  const refused: readonly (readonly [what: string, annotations: Record<string, string>, network: string])[] = [
    [
      'the networks annotation (specification v1.3, 4.1.1)',
      { 'k8s.v1.cni.cncf.io/networks': 'other/secret' },
      'other/secret',
    ],
    ['the default-network annotation', { [defaultNetwork]: 'audit' }, 'kube-system/audit'],
  ];
  for (const [what, annotations, network] of refused) {
    test(`refuses other networks in ${what}`, async () => {
      await using node = await startNode((ipam) => ({
        namespace: 'app',
        annotations,
        definitions: definitions(ipam),
        settings,
      }));
      const before = await node.state();
      const [annotation] = Object.keys(annotations);
      const [namespace] = network.split('/');
      await assert.rejects(node.add(), {
        code: 7,
        message: `pod app/app: annotation ${annotation}: namespaces are isolated: pod app of namespace app may not use network ${network}, for ${namespace} is no global namespace`,
        details: `name a network of namespace app or default, or have the administrator add ${namespace} to "globalNamespaces"`,
      });
      assert.deepEqual(await node.state(), before);
    });
  }
});

describe('ipam-claim-reference', () => {
  const annotation = '[{"name":"net-a","ipam-claim-reference":"vm.net-a"}]';

  test('is left to a plugin that keeps addresses by claims, which finds it in the annotation (specification v1.3)', async () => {
    await using node = await startNode(() => ({
      networks: annotation,
      definitions: { 'net-a': { cniVersion: '1.0.0', type: 'faulty', allowPersistentIPs: true } },
    }));
    await node.add();
    assert.equal(node.configs.length, 1);
    await node.remove();
  });

  test('is refused where nobody would look at it', async () => {
    await using node = await startNode((ipam) => ({ networks: annotation, definitions: everyPods(ipam) }));
    await assert.rejects(node.add(), {
      code: 7,
      message:
        /network default\/net-a: the pod asks for "ipam-claim-reference", but no plugin of the network \(macvlan\) keeps/,
    });
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
        'the test: clusterNetwork: expected the name or the file of the default network; or "delegates", a list that begins with its configuration, found ""',
    });
  });

  test('keys match without regard to case, and a null counts as absent, as in Multus', () => {
    const settings = parseSettings({ ClusterNetwork: 'net-a', confdir: '/etc/a', defaultNetworks: null }, 'the test');
    assert.equal(settings.clusterNetwork, 'net-a');
    assert.equal(settings.confDir, '/etc/a');
    assert.deepEqual(settings.defaultNetworks, []);
  });
});
