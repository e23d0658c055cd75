import type { JsonObject } from '../../../src/cni/json.ts';
import { type ParityCase, refusals, versions } from '../case.ts';

const plugin = 'sbr';

/** A pod with its first interface, which has the default route, and net1 as a plugin before left it. */
const pod = [
  'link add eth0 type veth peer name eth0p',
  'link set eth0 up',
  'link set eth0p up',
  'address add 10.0.0.2/24 dev eth0',
  'route add default via 10.0.0.1 dev eth0',
  'link add net1 type veth peer name net1p',
  'link set net1 up',
  'link set net1p up',
  'address add 10.1.2.9/24 dev net1',
  'address add fd00:1::9/64 dev net1 nodad',
];

const ip4 = { address: '10.1.2.9/24', gateway: '10.1.2.1', interface: 0 };
const ip6 = { address: 'fd00:1::9/64', gateway: 'fd00:1::1', interface: 0 };

const resultOf = (...ips: readonly JsonObject[]): JsonObject => ({
  cniVersion: '1.1.0',
  interfaces: [{ name: 'net1', mac: '02:00:00:00:01:01', sandbox: '<pod>' }],
  ips,
});

const caseOf = (tries: string, ips: readonly JsonObject[], more: Partial<ParityCase> = {}): ParityCase => ({
  plugin,
  tries,
  config: { prevResult: resultOf(...ips) },
  ...more,
  pod: [...pod, ...(more.pod ?? [])],
});

const ip4Also = { address: '10.1.2.10/24', gateway: '10.1.2.1', interface: 0 };
const addIp4Also = 'address add 10.1.2.10/24 dev net1';

export const sbrCases: readonly ParityCase[] = [
  ...versions
    .filter(
      (cniVersion) =>
        !cniVersion.startsWith('0.1') &&
        !cniVersion.startsWith('0.2') &&
        cniVersion !== '0.3.0' &&
        cniVersion !== '0.3.1',
    )
    .map((cniVersion) =>
      caseOf(`cniVersion ${cniVersion}`, [], {
        config: { cniVersion, prevResult: { ...resultOf({ ...ip4, version: '4' }), cniVersion } },
      }),
    ),
  caseOf('one address', [ip4]),
  caseOf('one address without a gateway', [{ address: '10.1.2.9/24', interface: 0 }]),
  caseOf('addresses of both families', [ip4, ip6]),
  caseOf('two addresses of one subnet', [ip4, ip4Also], { pod: [addIp4Also] }),
  caseOf('two addresses of two subnets', [ip4, { address: '10.3.0.9/16', gateway: '10.3.0.1', interface: 0 }], {
    pod: ['address add 10.3.0.9/16 dev net1'],
  }),
  caseOf('an address of no interface in particular', [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }]),
  caseOf('addresses of another interface are left alone', [], {
    config: {
      prevResult: {
        cniVersion: '1.1.0',
        interfaces: [
          { name: 'eth0', mac: '02:00:00:00:01:02', sandbox: '<pod>' },
          { name: 'net1', mac: '02:00:00:00:01:01', sandbox: '<pod>' },
        ],
        ips: [
          { address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 },
          { ...ip4, interface: 1 },
        ],
      },
    },
  }),
  caseOf('routes by a gateway, on the link, and with a metric', [ip4], {
    pod: [
      'route add 10.9.0.0/16 via 10.1.2.7 dev net1',
      'route add 10.8.0.0/16 dev net1 scope link',
      'route add 10.7.0.0/16 via 10.1.2.7 dev net1 metric 77 mtu 1300',
      'route add fd09::/64 via fd00:1::7 dev net1',
    ],
  }),
  caseOf("the interface's own default route", [ip4], {
    pod: ['route del default', 'route add default via 10.1.2.1 dev net1'],
  }),
  caseOf('a table that a rule leads to', [ip4], { pod: ['rule add from 10.77.0.0/16 table 100'] }),
  caseOf('a table that has routes', [ip4], {
    pod: ['route add 10.66.0.0/16 dev eth0 table 100'],
    differences: ['sbr-table'],
  }),
  caseOf('a table that is given', [ip4, ip6], { config: { table: 300, prevResult: resultOf(ip4, ip6) } }),
  caseOf('two interfaces, and the first one taken away', [ip4], {
    pod: ['link add net2 type veth peer name net2p', 'link set net2 up', 'address add 10.4.0.9/24 dev net2'],
    steps: [
      { call: 'ADD' },
      {
        call: 'ADD',
        ifName: 'net2',
        config: {
          prevResult: {
            cniVersion: '1.1.0',
            interfaces: [{ name: 'net2', mac: '02:00:00:00:01:02', sandbox: '<pod>' }],
            ips: [{ address: '10.4.0.9/24', gateway: '10.4.0.1', interface: 0 }],
          },
        },
      },
      { call: 'DEL' },
    ],
  }),
  caseOf('a DEL when the interface is gone', [ip4], {
    steps: [{ call: 'ADD' }, { pod: ['link delete net1'] }, { call: 'DEL' }],
    differences: ['sbr-del'],
  }),
  caseOf('a rule that is gone at CHECK', [ip4], {
    steps: [{ call: 'ADD' }, { pod: ['rule del from 10.1.2.9'] }, { call: 'CHECK', error: /no rule leads/ }],
    differences: ['sbr-check'],
  }),
  ...refusals(plugin, {}, [
    {
      tries: 'no prevResult',
      keys: {},
      error: /must be called as chained plugin/,
      differences: ['configuration-code'],
    },
    {
      tries: 'no addresses',
      keys: { prevResult: resultOf() },
      error: /No IP addresses supplied on interface: net1/,
      differences: ['configuration-code'],
    },
    {
      tries: 'a gateway that is nowhere',
      keys: { prevResult: resultOf({ ...ip4, gateway: '172.31.0.1' }) },
      error: /unreachable/,
      differences: ['nothing-half-made'],
    },
    {
      tries: 'a table that is no number',
      keys: { table: 'x', prevResult: resultOf(ip4) },
      error: /table/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
  ]).map((each) => ({ ...each, pod })),
  ...refusals(plugin, {}, [
    { tries: 'an interface that is not there', keys: { prevResult: resultOf(ip4) }, error: /net1/ },
  ]),
];
