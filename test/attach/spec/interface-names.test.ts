import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { checkSandbox } from '../../../src/attach/check.ts';
import { interfaceNames } from '../../../src/attach/interface-names.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import { ip } from '../../plugins/support.ts';
import { becomeNodeWith } from '../../support/node.ts';
import { macvlan, type Node, type NodeOptions, startNode } from '../node.ts';

/* Interface names: specification v1.3 of the Network Plumbing Working Group, sections 4.1.2.1.5 and 4.2.1. */

becomeNodeWith('ens5', 'ens6');

const given: readonly (readonly [
  what: string,
  requested: readonly (string | undefined)[],
  names: readonly string[],
])[] = [
  ['the default network alone', ['eth0'], ['eth0']],
  ['by place', ['eth0', undefined, undefined], ['eth0', 'net1', 'net2']],
  ['by place, beside one that is asked for', ['eth0', 'data0', undefined], ['eth0', 'data0', 'net2']],
  ['past a later one that is asked for', ['eth0', undefined, 'net1'], ['eth0', 'net2', 'net1']],
  ['past several', ['eth0', undefined, undefined, 'net1', 'net2'], ['eth0', 'net3', 'net4', 'net1', 'net2']],
  ['the default network may have any name', ['net1', undefined], ['net1', 'net2']],
];

for (const [what, requested, names] of given) {
  test(`NPWG v1.3 §4.2.1: ${what}`, () => assert.deepEqual(interfaceNames(requested, ['lo']), names));
}

const refused: readonly (readonly [what: string, requested: readonly (string | undefined)[], name: string])[] = [
  ["the default network's", ['eth0', 'eth0'], 'eth0'],
  ['of an earlier network', ['eth0', 'data0', 'data0'], 'data0'],
  ['lo', ['eth0', 'lo'], 'lo'],
];

for (const [what, requested, name] of refused) {
  test(`NPWG v1.3 §4.1.2.1.5: refused: a name that is taken: ${what}`, () => {
    assert.throws(() => interfaceNames(requested, ['lo']), {
      message: `interface name ${name} already exists: two of the pod's networks would have it`,
    });
  });
}

/** An executed plugin whose attachment is two interfaces, the other one named by its configuration. */
const wide = `#!/bin/sh
config=$(cat)
other=$(printf %s "$config" | sed 's/.*"other":"\\([a-z0-9]*\\)".*/\\1/')
pod="nsenter --net=$CNI_NETNS ip"
case $CNI_COMMAND in
ADD)
  $pod link add "$CNI_IFNAME" type veth peer name "$other" >&2 &&
  echo '{"cniVersion":"1.0.0","interfaces":[{"name":"'"$other"'","sandbox":"'"$CNI_NETNS"'"},
    {"name":"'"$CNI_IFNAME"'","sandbox":"'"$CNI_NETNS"'"},{"name":"host0"}]}' ;;
DEL) test -z "$CNI_NETNS" || $pod link del "$CNI_IFNAME" 2>/dev/null || true ;;
esac
`;

const making = (other: string, keys: JsonObject = {}): JsonObject => ({
  cniVersion: '1.0.0',
  type: 'wide',
  other,
  ...keys,
});

async function prepared(options: (ipam: JsonObject) => NodeOptions): Promise<Node> {
  const node = await startNode(options);
  await writeFile(join(node.directory, 'wide'), wide, { mode: 0o755 });
  return node;
}

interface Case {
  readonly what: string;
  readonly networks: string;
  readonly defaultNetwork?: JsonObject;
  readonly definitions?: (ipam: JsonObject) => Readonly<Record<string, JsonObject>>;
  readonly settings?: JsonObject;
  /** Network, interface and whether it is the default one of each status. */
  readonly status: readonly (readonly [network: string, ifName: string, isDefault?: true])[];
}

const networks = (ipam: JsonObject) => ({
  a: macvlan(ipam, '10.1.0.0/24'),
  b: macvlan(ipam, '10.2.0.0/24'),
  'kube-system/audit': macvlan(ipam, '10.8.0.0/24'),
  wide: making('net2'),
});

const cases: readonly Case[] = [
  {
    what: "names that the default network's result has are passed over",
    networks: 'a,b',
    defaultNetwork: making('net1', { name: 'cluster-net' }),
    status: [
      ['cluster-net', 'eth0', true],
      ['cluster-net', 'net1'],
      ['default/a', 'net2'],
      ['default/b', 'net3'],
    ],
  },
  {
    what: 'and those of it that come in between',
    networks: 'a,b',
    defaultNetwork: making('net2', { name: 'cluster-net' }),
    status: [
      ['cluster-net', 'eth0', true],
      ['cluster-net', 'net2'],
      ['default/a', 'net1'],
      ['default/b', 'net3'],
    ],
  },
  {
    what: 'and those that the pod asks for are left to it',
    networks: 'a,b@net2',
    defaultNetwork: making('net1', { name: 'cluster-net' }),
    status: [
      ['cluster-net', 'eth0', true],
      ['cluster-net', 'net1'],
      ['default/a', 'net3'],
      ['default/b', 'net2'],
    ],
  },
  {
    what: "names of defaultNetworks are passed over, and those of the pod's other networks",
    networks: 'wide,a@net3,b',
    settings: { defaultNetworks: ['audit'] },
    definitions: (ipam) => ({ ...networks(ipam), wide: making('net4') }),
    status: [
      ['cluster-net', 'eth0', true],
      ['kube-system/audit', 'net1'],
      ['default/wide', 'net2'],
      ['default/wide', 'net4'],
      ['default/a', 'net3'],
      ['default/b', 'net5'],
    ],
  },
  {
    what: 'one network three times has three names',
    networks: 'a,a,a',
    status: [
      ['cluster-net', 'eth0', true],
      ['default/a', 'net1'],
      ['default/a', 'net2'],
      ['default/a', 'net3'],
    ],
  },
];

describe('interfaces of a pod', () => {
  for (const { what, networks: asked, defaultNetwork, definitions = networks, settings = {}, status } of cases) {
    test(`NPWG v1.3 §4.2.1: ${what}`, async () => {
      await using node = await prepared((ipam) => ({
        networks: asked,
        definitions: definitions(ipam),
        settings,
        ...(defaultNetwork && { defaultNetwork }),
      }));
      const before = await node.state();
      await node.add();
      assert.deepEqual(
        node.networkStatus().map((entry) => [entry['name'], entry['interface'], entry['default']]),
        status.map(([network, ifName, isDefault]) => [network, ifName, isDefault]),
      );
      const there = (await ip(node.sandbox.path, 'link')).map(({ ifname }) => `${ifname}`);
      assert.deepEqual(there.sort(), ['lo', ...status.map(([, ifName]) => ifName)].sort());
      await checkSandbox(node.attachment, node.journal, node.runner);
      await node.remove();
      assert.deepEqual(await node.state(), before);
    });
  }

  test('NPWG v1.3 §4.1.2.1.5: a name that the pod asks for and the default network took fails the pod, and nothing is left', async () => {
    await using node = await prepared((ipam) => ({
      networks: 'a@net1',
      defaultNetwork: making('net1', { name: 'cluster-net' }),
      definitions: networks(ipam),
    }));
    const before = await node.state();
    await assert.rejects(node.add(), { code: 7 });
    assert.deepEqual(await node.events(2), [
      'AddedInterface: Add eth0 [] from cluster-net',
      "FailedAddingInterface: interface name net1 already exists: two of the pod's networks would have it " +
        '(give the network that asks for net1 another "interface" in the annotation, or none)',
    ]);
    assert.deepEqual(await node.state(), before);
    assert.deepEqual(node.networkStatus(), []);
  });
});
