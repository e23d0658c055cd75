import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { checkSandbox } from '../../../src/attach/check.ts';
import { isJsonArray, isJsonObject, type JsonObject } from '../../../src/cni/json.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { ip } from '../../plugins/support.ts';
import { becomeNodeWith } from '../../support/node.ts';
import { type Node, type NodeOptions, startNode } from '../node.ts';

/* The default route of a pod: specification v1.3 of the Network Plumbing Working Group, section 4.1.2.1.9. */

becomeNodeWith('ens5', 'ens6');

const everywhere = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];

/** An ipam with addresses of both families, whose gateways are .1 and ::1. */
const dual = (ipam: JsonObject, net: number, keys: JsonObject = {}): JsonObject => ({
  ...ipam,
  ranges: [[{ subnet: `10.${net}.0.0/24` }], [{ subnet: `fd00:${net}::/64` }]],
  ...keys,
});

const clusterNetwork = (ipam: JsonObject): JsonObject => ({
  cniVersion: '1.1.0',
  name: 'cluster-net',
  type: 'macvlan',
  master: 'ens5',
  ipam: dual(ipam, 244, { routes: [...everywhere, { dst: '10.96.0.0/12' }] }),
});

const macvlan = (ipam: JsonObject, keys: JsonObject = {}): JsonObject => ({
  cniVersion: '1.1.0',
  type: 'macvlan',
  master: 'ens6',
  ipam,
  ...keys,
});

/**
 * A plugin that is executed. It makes a veth pair within the pod with 10.77.0.2/24 and two ways into the world, and its
 * CHECK fails where prevResult has a default route that is not on its interface.
 */
const executed = `#!/bin/sh
config=$(cat)
pod="nsenter --net=$CNI_NETNS ip"
case $CNI_COMMAND in
ADD)
  $pod link add "$CNI_IFNAME" type veth peer name "x$CNI_IFNAME" >&2 &&
  $pod address add 10.77.0.2/24 dev "$CNI_IFNAME" >&2 &&
  $pod link set "x$CNI_IFNAME" up >&2 &&
  $pod link set "$CNI_IFNAME" up >&2 &&
  $pod route append default metric 50 nexthop via 10.77.0.1 dev "$CNI_IFNAME" nexthop via 10.77.0.254 dev "$CNI_IFNAME" >&2 &&
  echo '{"cniVersion":"1.0.0","interfaces":[{"name":"'"$CNI_IFNAME"'","sandbox":"'"$CNI_NETNS"'"}],
    "ips":[{"address":"10.77.0.2/24","gateway":"10.77.0.1","interface":0}],"routes":[{"dst":"0.0.0.0/0"}]}' ;;
DEL) test -z "$CNI_NETNS" || $pod link del "$CNI_IFNAME" 2>/dev/null || true ;;
CHECK)
  case $config in *'"prevResult":'*'"0.0.0.0/0"'*)
    $pod route show default dev "$CNI_IFNAME" | grep -q . || {
      echo '{"cniVersion":"1.0.0","code":111,"msg":"the default route of prevResult is not there"}'
      exit 1
    } ;;
  esac ;;
esac
`;

/** Family, gateway and interface of each default route, as ip(8) has them. */
async function defaultRoutes(netns: string): Promise<string[]> {
  const found = [
    ...(await ip(netns, 'route', 'show', 'default')),
    ...(await ip(netns, '-6', 'route', 'show', 'default')),
  ];
  return found.flatMap(({ gateway, dev, nexthops }) => {
    const ways = isJsonArray(nexthops) ? nexthops.filter(isJsonObject) : [{ gateway, dev }];
    return ways.map((way) => `${way['gateway'] ?? 'link'} ${way['dev']}`);
  });
}

async function prepared(options: (ipam: JsonObject) => NodeOptions): Promise<Node> {
  const node = await startNode((ipam) => ({ defaultNetwork: clusterNetwork(ipam), ...options(ipam) }));
  await writeFile(join(node.directory, 'world'), executed, { mode: 0o755 });
  // Detection of duplicate addresses takes a second or two, and is not what is looked at here.
  await writeSysctl(node.sandbox.namespace, 0, 'ipv6', 'conf', 'default', 'accept_dad');
  return node;
}

interface Case {
  readonly what: string;
  readonly networks: string;
  readonly definitions: (ipam: JsonObject) => Readonly<Record<string, JsonObject>>;
  readonly options?: (ipam: JsonObject) => NodeOptions;
  /** The default routes that the pod has in the end. */
  readonly routes: readonly string[];
  /** Gateways in each status, by interface. */
  readonly status: Readonly<Record<string, readonly string[]>>;
}

const asking = (...gateways: readonly string[]): string => JSON.stringify([{ name: 'a', 'default-route': gateways }]);

const cases: readonly Case[] = [
  {
    what: 'nobody asks: the networks have the routes that they made',
    networks: 'a',
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)) }),
    routes: ['10.244.0.1 eth0', 'fd00:244::1 eth0'],
    status: { eth0: ['10.244.0.1', 'fd00:244::1'], net1: [] },
  },
  {
    what: 'a gateway for IPv4: the default route of IPv6 stays where it is',
    networks: asking('10.1.0.1'),
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)) }),
    routes: ['10.1.0.1 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['10.1.0.1'] },
  },
  {
    what: 'a gateway for IPv6: the default route of IPv4 stays where it is',
    networks: asking('fd00:1::1'),
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)) }),
    routes: ['10.244.0.1 eth0', 'fd00:1::1 net1'],
    status: { eth0: ['10.244.0.1'], net1: ['fd00:1::1'] },
  },
  {
    what: 'a gateway for each',
    networks: asking('fd00:1::1', '10.1.0.1'),
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)) }),
    routes: ['10.1.0.1 net1', 'fd00:1::1 net1'],
    status: { eth0: [], net1: ['fd00:1::1', '10.1.0.1'] },
  },
  {
    what: 'the gateways of the pod count, whatever the network has',
    networks: asking('10.1.0.9'),
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1, { routes: everywhere })) }),
    routes: ['10.1.0.9 net1', 'fd00:1::1 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['fd00:1::1', '10.1.0.9'] },
  },
  {
    what: 'an empty list stands for the gateways of the network',
    networks: asking(),
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)) }),
    routes: ['10.1.0.1 net1', 'fd00:1::1 net1'],
    status: { eth0: [], net1: ['10.1.0.1', 'fd00:1::1'] },
  },
  {
    what: 'an empty list takes nothing of the family that the network does not have',
    networks: asking(),
    definitions: (ipam) => ({ a: macvlan({ ...ipam, subnet: '10.1.0.0/24' }) }),
    routes: ['10.1.0.1 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['10.1.0.1'] },
  },
  {
    what: 'an empty list keeps the default routes that the network makes itself, its gateways and all',
    networks: asking(),
    definitions: (ipam) => ({
      a: macvlan(dual(ipam, 1, { routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.7', priority: 7 }, { dst: '::/0' }] })),
    }),
    routes: ['10.1.0.7 net1', 'fd00:1::1 net1'],
    status: { eth0: [], net1: ['10.1.0.7', 'fd00:1::1'] },
  },
  {
    what: 'an empty list keeps a default route that has no gateway',
    networks: asking(),
    definitions: () => ({
      a: macvlan({ type: 'static', addresses: [{ address: '10.1.0.2/24' }], routes: [{ dst: '0.0.0.0/0' }] }),
    }),
    routes: ['link net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: [] },
  },
  {
    what: 'all others lose theirs, not the default network alone',
    networks: '[{"name":"b"},{"name":"a","default-route":["10.1.0.1"]},{"name":"c"}]',
    definitions: (ipam) => ({
      a: macvlan(dual(ipam, 1)),
      b: macvlan(dual(ipam, 2, { routes: everywhere })),
      c: macvlan({ ...ipam, subnet: '10.3.0.0/24', routes: [{ dst: '0.0.0.0/0', priority: 1 }] }),
    }),
    routes: ['10.1.0.1 net2', 'fd00:2::1 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['fd00:2::1'], net2: ['10.1.0.1'], net3: [] },
  },
  {
    what: 'two networks, each for a family of its own',
    networks: '[{"name":"a","default-route":["10.1.0.1"]},{"name":"b","default-route":["fd00:2::1"]}]',
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)), b: macvlan(dual(ipam, 2)) }),
    routes: ['10.1.0.1 net1', 'fd00:2::1 net2'],
    status: { eth0: [], net1: ['10.1.0.1'], net2: ['fd00:2::1'] },
  },
  {
    what: 'other routes stay, those of other tables included',
    networks: asking('10.1.0.1'),
    definitions: (ipam) => ({
      a: macvlan(dual(ipam, 1, { routes: [{ dst: '10.9.0.0/16' }, { dst: '0.0.0.0/0', table: 100 }] })),
    }),
    routes: ['10.1.0.1 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['10.1.0.1'] },
  },
  {
    what: 'a bridge',
    networks: asking('10.1.0.1', 'fd00:1::1'),
    definitions: (ipam) => ({
      a: { cniVersion: '1.1.0', type: 'bridge', bridge: 'plxbr0', isDefaultGateway: true, ipam: dual(ipam, 1) },
    }),
    routes: ['10.1.0.1 net1', 'fd00:1::1 net1'],
    status: { eth0: [], net1: ['10.1.0.1', 'fd00:1::1'] },
  },
  {
    what: 'ptp',
    networks: asking(),
    definitions: (ipam) => ({ a: { cniVersion: '1.1.0', type: 'ptp', ipam: dual(ipam, 1, { routes: everywhere }) } }),
    routes: ['10.1.0.1 net1', 'fd00:1::1 net1'],
    status: { eth0: [], net1: ['10.1.0.1', 'fd00:1::1'] },
  },
  {
    what: 'results of an old version, which name no interface',
    networks: asking('10.1.0.1'),
    definitions: (ipam) => ({ a: macvlan({ ...ipam, subnet: '10.1.0.0/24' }, { cniVersion: '0.2.0' }) }),
    routes: ['10.1.0.1 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['10.1.0.1'] },
  },
  {
    what: 'an executed plugin gets it, in the place of the ways that it made',
    networks: asking('10.77.0.9'),
    definitions: () => ({ a: { cniVersion: '1.0.0', type: 'world' } }),
    routes: ['10.77.0.9 net1', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: ['10.77.0.9'] },
  },
  {
    what: 'an executed plugin loses it, and its CHECK looks for it no more',
    networks: '[{"name":"b"},{"name":"a","default-route":["10.1.0.1"]}]',
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)), b: { cniVersion: '1.0.0', type: 'world' } }),
    routes: ['10.1.0.1 net2', 'fd00:244::1 eth0'],
    status: { eth0: ['fd00:244::1'], net1: [], net2: ['10.1.0.1'] },
  },
  {
    what: 'an executed default network loses it',
    networks: asking(),
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)) }),
    options: () => ({ defaultNetwork: { cniVersion: '1.0.0', name: 'cluster-net', type: 'world' } }),
    routes: ['10.1.0.1 net1', 'fd00:1::1 net1'],
    status: { eth0: [], net1: ['10.1.0.1', 'fd00:1::1'] },
  },
  {
    what: 'of the network that the pod asks for in the place of its default network, by that annotation',
    networks: 'b',
    definitions: (ipam) => ({ a: macvlan(dual(ipam, 1)), b: macvlan(dual(ipam, 2, { routes: everywhere })) }),
    options: () => ({
      annotations: {
        'v1.multus-cni.io/default-network':
          '[{"name":"a","namespace":"default","default-route":["10.1.0.1","fd00:1::1"]}]',
      },
    }),
    routes: ['10.1.0.1 eth0', 'fd00:1::1 eth0'],
    status: { eth0: ['10.1.0.1', 'fd00:1::1'], net1: [] },
  },
];

describe('default-route', () => {
  for (const { what, networks, definitions, options, routes, status } of cases) {
    test(`NPWG v1.3 §4.1.2.1.9: ${what}`, async () => {
      await using node = await prepared((ipam) => ({
        networks,
        definitions: definitions(ipam),
        ...options?.(ipam),
      }));
      const before = await node.state();
      await node.add();
      assert.deepEqual((await defaultRoutes(node.sandbox.path)).sort(), [...routes].sort());
      const found = node.networkStatus().map((entry) => [entry['interface'], entry['gateway'] ?? []]);
      assert.deepEqual(Object.fromEntries(found), status);
      await checkSandbox(node.attachment, node.journal, node.runner);
      await node.remove();
      assert.deepEqual(await node.state(), before);
    });
  }
});

interface Refused {
  readonly what: string;
  readonly networks: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly definitions: (ipam: JsonObject) => Readonly<Record<string, JsonObject>>;
  /** The event's text. */
  readonly event: string | RegExp;
  /** Attachments that were made, and taken back, before it was found. */
  readonly made: number;
}

const both = (ipam: JsonObject) => ({ a: macvlan(dual(ipam, 1)), b: macvlan(dual(ipam, 2)) });
const remedy = '(leave "default-route" to one of them; an empty list asks for IPv4 and IPv6)';
const twice = (family: string, names = 'default/a and default/b'): string =>
  `annotation k8s.v1.cni.cncf.io/networks: the default route for ${family} is asked for by ${names}, and one may have it ${remedy}`;

const refused: readonly Refused[] = [
  {
    what: 'two networks for one family',
    networks: '[{"name":"a","default-route":["10.1.0.1"]},{"name":"b","default-route":["10.2.0.1","fd00:2::1"]}]',
    definitions: both,
    event: twice('IPv4'),
    made: 0,
  },
  {
    what: 'two for IPv6',
    networks: '[{"name":"a","default-route":["fd00:1::1"]},{"name":"b","default-route":["fd00:2::1"]}]',
    definitions: both,
    event: twice('IPv6'),
    made: 0,
  },
  {
    what: 'an empty list beside a gateway',
    networks: '[{"name":"a","default-route":[]},{"name":"b","default-route":["fd00:2::1"]}]',
    definitions: both,
    event: twice('IPv6'),
    made: 0,
  },
  {
    what: 'two empty lists, of one network twice',
    networks: '[{"name":"a","default-route":[]},{"name":"a","default-route":[]}]',
    definitions: both,
    event: twice('IPv4', 'default/a and default/a'),
    made: 0,
  },
  {
    what: 'one by the default-network annotation',
    networks: asking(),
    annotations: {
      'v1.multus-cni.io/default-network': '[{"name":"b","namespace":"default","default-route":["10.2.0.1"]}]',
    },
    definitions: both,
    event: twice('IPv4', 'default/b and default/a'),
    made: 0,
  },
  {
    what: 'a gateway in no subnet of the interface',
    networks: asking('192.0.2.1'),
    definitions: both,
    event:
      /^network default\/a, interface net1: the pod's default route via 192\.0\.2\.1 cannot be made: add route default via 192\.0\.2\.1 on interface number \d+: network is unreachable.* \("default-route" must name a gateway that is in a subnet of the interface, whose addresses are: 10\.1\.0\.2\/24, fd00:1::2\/64\)$/,
    made: 2,
  },
  {
    what: 'the broadcast address of the subnet',
    networks: asking('10.1.0.255'),
    definitions: both,
    event: /^network default\/a, interface net1: the pod's default route via 10\.1\.0\.255 cannot be made: .*invalid/,
    made: 2,
  },
  {
    what: 'an empty list for a network that has no way into the world',
    networks: asking(),
    definitions: () => ({ a: macvlan({ type: 'static', addresses: [{ address: '10.1.0.2/24' }] }) }),
    event:
      'network default/a, interface net1: the pod asks for its default route by "default-route": [], but the network has no gateway and no default route ' +
      '(name the gateway in "default-route", add "routes": [{ "dst": "0.0.0.0/0" }] and a gateway to the ipam of the network, or remove "default-route")',
    made: 2,
  },
  {
    what: 'a network that makes no such interface',
    networks: asking('10.1.0.1'),
    definitions: () => ({ a: { cniVersion: '1.0.0', type: 'faulty' } }),
    event:
      'network default/a, interface net1: the pod wants its default route there, but the network made no such interface ' +
      '(remove "default-route" from the annotation, or give it to another network)',
    made: 2,
  },
];

describe('default-route is refused, and nothing is left', () => {
  for (const { what, networks, annotations = {}, definitions, event, made } of refused) {
    test(`NPWG v1.3 §4.1.2.1.9: ${what}`, async () => {
      await using node = await prepared((ipam) => ({ networks, annotations, definitions: definitions(ipam) }));
      const before = await node.state();
      await assert.rejects(node.add(), { code: 7 });
      const told = ((await node.events(made + 1)).at(-1) ?? '').replace('FailedAddingInterface: ', '');
      if (typeof event === 'string') assert.equal(told, event);
      else assert.match(told, event);
      assert.deepEqual(await node.state(), before);
      assert.deepEqual(node.networkStatus(), []);
    });
  }
});
