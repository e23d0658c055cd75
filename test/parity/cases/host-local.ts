import type { JsonObject } from '../../../src/cni/json.ts';
import { type CallStep, type ParityCase, type Refusal, refusals, versions } from '../case.ts';

const plugin = 'host-local';
const ipam = (keys: JsonObject): JsonObject => ({ ipam: { type: 'host-local', ...keys } });
const add = (id: string, rest: Partial<CallStep> = {}): CallStep => ({ call: 'ADD', id, ...rest });
const del = (id: string, rest: Partial<CallStep> = {}): CallStep => ({ call: 'DEL', id, ...rest });

const someResult: JsonObject = { prevResult: { cniVersion: '1.1.0', ips: [{ address: '10.1.2.2/24' }] } };

const both = [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]];

const lifecycles: readonly ParityCase[] = [
  ...versions.map((cniVersion) => ({
    plugin,
    tries: `two families in cniVersion ${cniVersion}`,
    config: { cniVersion, ...ipam({ ranges: both, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fd00:1::9' }] }) },
  })),
  {
    plugin,
    tries: 'routes with every key',
    config: ipam({
      subnet: '10.1.2.0/24',
      routes: [{ dst: '10.9.0.0/16', gw: '10.1.2.9', mtu: 1300, advmss: 1200, priority: 50, table: 100, scope: 253 }],
    }),
  },
  {
    plugin,
    tries: 'a range within a subnet, with its gateway',
    config: ipam({ subnet: '10.1.2.0/24', rangeStart: '10.1.2.20', rangeEnd: '10.1.2.21', gateway: '10.1.2.254' }),
    steps: [add('c1'), add('c2'), add('c3', { error: /no IP addresses available in range set: 10.1.2.20-10.1.2.21/ })],
  },
  {
    plugin,
    tries: 'all addresses of a /29, one given back, and one more',
    config: ipam({ subnet: '10.1.2.0/29' }),
    steps: [
      ...['c1', 'c2', 'c3', 'c4', 'c5'].map((id) => add(id)),
      add('c6', { error: /failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.6/ }),
      del('c3'),
      add('c7'),
      add('c8', { error: /no IP addresses available/ }),
    ],
  },
  {
    plugin,
    tries: 'a set of two ranges, which wraps',
    config: ipam({ ranges: [[{ subnet: '10.1.2.0/30' }, { subnet: '10.1.3.0/30' }]] }),
    steps: [add('c1'), add('c2'), del('c1'), add('c3'), del('c2'), add('c4')],
  },
  {
    plugin,
    tries: 'the next address after the last one that was given away',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [add('c1'), del('c1'), add('c2'), { call: 'CHECK', id: 'c2' }, add('c3')],
  },
  {
    plugin,
    tries: 'a last address that is damaged, and one that is not of the range',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [{ files: { 'test-net/last_reserved_ip.0': 'x', 'test-net/10.1.2.2': 'c9' } }, add('c1'), del('c1')],
  },
  {
    plugin,
    tries: 'two interfaces of one container',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [
      add('c1'),
      add('c1', { ifName: 'net2' }),
      { call: 'CHECK', id: 'c1', ifName: 'net2' },
      del('c1'),
      del('c1', { ifName: 'net2' }),
    ],
  },
  {
    plugin,
    tries: 'an ADD that is repeated',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [
      add('c1'),
      add('c1', { error: /10.1.2.2 has been allocated to c1, duplicate allocation is not allowed/ }),
      del('c1'),
    ],
  },
  {
    plugin,
    tries: 'files of older releases, without an interface name',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [
      {
        files: {
          'test-net/10.1.2.2': 'c1',
          'test-net/10.1.2.3': 'c2\r\nnet1',
          'test-net/last_reserved_ip.0': '10.1.2.3',
        },
      },
      { call: 'CHECK', id: 'c1', config: someResult },
      add('c3'),
      del('c1'),
      del('c2', { ifName: 'net9' }),
      del('c2'),
    ],
  },
  {
    plugin,
    tries: 'subnet and ranges together, and ranges of the runtime',
    config: {
      ...ipam({ subnet: '10.1.2.0/24', ranges: [[{ subnet: '10.1.3.0/24' }]] }),
      runtimeConfig: { ipRanges: [[{ subnet: '10.1.4.0/24', rangeStart: '10.1.4.9' }]] },
    },
  },
  {
    plugin,
    tries: 'a resolv.conf',
    config: ipam({ subnet: '10.1.2.0/24', resolvConf: '<data>/resolv.conf' }),
    steps: [
      {
        files: {
          'resolv.conf':
            '# a comment\nnameserver 10.1.2.53\nnameserver fd00::53\ndomain example\nsearch a b\noptions ndots:2 edns0\n; end\n',
        },
      },
      add('c1'),
    ],
  },
  {
    plugin,
    tries: 'a DEL and a CHECK of what was never added',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [
      add('c1'),
      del('c2'),
      { call: 'CHECK', id: 'c2', config: someResult, error: /Failed to find address added by container c2/ },
    ],
  },
  {
    plugin,
    tries: 'a DEL in a network that has no directory',
    differences: ['no-empty-directory'],
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [del('c1')],
  },
  {
    plugin,
    tries: 'STATUS, GC and VERSION',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [
      { call: 'VERSION' },
      { call: 'STATUS' },
      add('c1'),
      add('c2'),
      { call: 'GC', config: { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'net1' }] } },
    ],
    differences: ['gc'],
  },
  {
    plugin,
    tries: 'a CHECK without prevResult',
    config: ipam({ subnet: '10.1.2.0/24' }),
    steps: [{ files: { 'test-net/10.1.2.2': 'c1\r\nnet1' } }, { call: 'CHECK' }],
    differences: ['check-needs-result'],
  },
  {
    plugin,
    tries: 'keys and names in another case',
    config: { IPAM: { Type: 'host-local', SUBNET: '10.1.2.0/24', RangeStart: '10.1.2.9', DATADIR: '<data>' } },
  },
];

const requests: readonly ParityCase[] = [
  { tries: 'CNI_ARGS', rest: { args: 'IP=10.1.2.9' } },
  { tries: 'CNI_ARGS with a prefix length', rest: { args: 'IP=10.1.2.9/24' } },
  { tries: 'args.cni', rest: { config: { args: { cni: { ips: ['10.1.2.9'] } } } } },
  { tries: 'the runtime', rest: { config: { runtimeConfig: { ips: ['10.1.2.9/24', 'fd00:1::9'] } } } },
  {
    tries: 'all three',
    rest: { args: 'IP=10.1.2.9', config: { args: { cni: { ips: ['fd00:1::8'] } }, runtimeConfig: { ips: [] } } },
  },
].map(({ tries, rest }) => ({
  plugin,
  tries: `an address requested by ${tries}, and again for another container`,
  config: ipam({ ranges: both }),
  steps: [
    add('c1', rest),
    add('c2', { ...rest, error: /is not available in range set|been allocated to c1/ }),
    del('c1', rest),
  ],
}));

/** What no DEL needs to know. */
const wrongRanges: readonly Refusal[] = [
  { tries: 'no ranges', keys: ipam({}), error: /no IP ranges specified/ },
  {
    tries: 'a subnet with host bits',
    keys: ipam({ subnet: '10.1.2.3/24' }),
    error: /host bits set|not canonical|has host bits/i,
  },
  { tries: 'a /31', keys: ipam({ subnet: '10.1.2.0/31' }), error: /too small/ },
  {
    tries: 'a start outside of the subnet',
    keys: ipam({ subnet: '10.1.2.0/24', rangeStart: '10.1.3.1' }),
    error: /10\.1\.3\.1.*not in|10\.1\.3\.1/,
  },
  {
    tries: 'an end before the start',
    keys: ipam({ subnet: '10.1.2.0/24', rangeStart: '10.1.2.9', rangeEnd: '10.1.2.8' }),
    error: /10\.1\.2\.9/,
  },
  {
    tries: 'an end outside of the subnet',
    keys: ipam({ subnet: '10.1.2.0/24', rangeEnd: '10.1.3.9' }),
    error: /10\.1\.3\.9/,
  },
  {
    tries: 'sets that overlap',
    keys: ipam({ ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.0.0/16' }]] }),
    error: /range set 0 overlaps with 1/,
  },
  {
    tries: 'ranges that overlap in one set',
    keys: ipam({ ranges: [[{ subnet: '10.1.2.0/24' }, { subnet: '10.1.0.0/16' }]] }),
    error: /overlap/,
  },
  {
    tries: 'two families in one set',
    keys: ipam({ ranges: [[{ subnet: '10.1.2.0/24' }, { subnet: 'fd00::/64' }]] }),
    error: /mixed address families/,
  },
  {
    tries: 'two addresses of one family in 0.2.0',
    keys: { cniVersion: '0.2.0', ...ipam({ ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.3.0/24' }]] }) },
    error: /CNI version 0.2.0 does not support more than 1 address per family/,
  },
].map((each): Refusal => ({ ...each, differences: ['del-broken-configuration'] }));

const wrongRequests: readonly Refusal[] = [
  {
    tries: 'a subnet that is none',
    keys: ipam({ subnet: 'abc' }),
    error: /abc/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'an argument that nobody knows',
    differences: ['no-empty-directory'],
    keys: ipam({ subnet: '10.1.2.0/24' }),
    args: 'FOO=1',
    error: /ARGS: unknown args \["FOO=1"\]/,
  },
  {
    tries: 'a request that is no address',
    differences: ['no-empty-directory'],
    keys: ipam({ subnet: '10.1.2.0/24' }),
    args: 'IP=x',
    error: /invalid/,
  },
  {
    tries: "a request for the subnet's gateway",
    keys: ipam({ subnet: '10.1.2.0/24' }),
    args: 'IP=10.1.2.1',
    error: /requested ip 10.1.2.1 is subnet's gateway/,
  },
  {
    tries: 'a request that is in no range',
    differences: ['all-or-nothing'],
    keys: ipam({ subnet: '10.1.2.0/24' }),
    args: 'IP=10.9.9.9',
    error: /failed to allocate all requested IPs: 10.9.9.9/,
  },
  {
    tries: 'a resolv.conf that is not there',
    differences: ['no-empty-directory'],
    keys: ipam({ subnet: '10.1.2.0/24', resolvConf: '/nowhere' }),
    error: /nowhere/,
  },
];

export const hostLocalCases: readonly ParityCase[] = [
  ...lifecycles,
  ...requests,
  ...refusals(plugin, {}, wrongRanges),
  ...refusals(plugin, {}, wrongRequests),
];
