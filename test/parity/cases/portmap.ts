import type { JsonObject } from '../../../src/cni/json.ts';
import { type ParityCase, refusals, versions, wire } from '../case.ts';

const plugin = 'portmap';

/** The node's way to the pod. */
const node = [...wire('ens5'), 'address add 10.1.2.1/24 dev ens5', 'address add fd00:1::1/64 dev ens5 nodad'];

const ip4 = { address: '10.1.2.9/24', gateway: '10.1.2.1', interface: 1 };
const ip6 = { address: 'fd00:1::9/64', gateway: 'fd00:1::1', interface: 1 };

const resultOf = (...ips: readonly JsonObject[]): JsonObject => ({
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'ens5', mac: '02:00:00:00:05:01' },
    { name: 'net1', mac: '02:00:00:00:01:01', sandbox: '<pod>' },
  ],
  ips,
});

const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const dns = { hostPort: 53, containerPort: 5353, protocol: 'udp' };

const mapped = (...portMappings: readonly JsonObject[]): JsonObject => ({ runtimeConfig: { portMappings } });

const base: JsonObject = { ...mapped(web), prevResult: resultOf(ip4, ip6) };

const caseOf = (tries: string, keys: JsonObject, more: Partial<ParityCase> = {}): ParityCase => ({
  plugin,
  tries,
  node,
  config: { ...base, ...keys },
  ...more,
});

/** A case for each backend. */
const byBoth = (tries: string, keys: JsonObject, more: Partial<ParityCase> = {}): readonly ParityCase[] =>
  ['iptables', 'nftables'].map((backend) => caseOf(`${tries}, by ${backend}`, { backend, ...keys }, more));

const everyPort = mapped(
  web,
  dns,
  { hostPort: 9000, containerPort: 90, protocol: 'sctp' },
  { hostPort: 8081, containerPort: 81, protocol: 'tcp', hostIP: '10.1.2.1' },
  { hostPort: 8082, containerPort: 82, protocol: 'tcp', hostIP: 'fd00:1::1' },
  { hostPort: 8083, containerPort: 83, protocol: 'tcp', hostIP: '0.0.0.0' },
  { hostPort: 8084, containerPort: 84, protocol: 'tcp', hostIP: '::' },
  { hostPort: 8085, containerPort: 85, protocol: 'tcp', hostIP: '' },
);

const manyPorts = mapped(
  ...Array.from({ length: 17 }, (_, index) => ({ hostPort: 7000 + index, containerPort: 80, protocol: 'tcp' })),
);

const iptablesConditions = { conditionsV4: ['-s', '10.0.0.0/8'], conditionsV6: ['!', '-d', 'fd00:2::/64'] };
const nftablesConditions = {
  conditionsV4: ['ip', 'saddr', '10.0.0.0/8'],
  conditionsV6: ['ip6', 'daddr', '!=', 'fd00:2::/64'],
};

export const portmapCases: readonly ParityCase[] = [
  ...versions
    .filter((cniVersion) => cniVersion.startsWith('1.') || cniVersion === '0.4.0')
    .map((cniVersion) =>
      caseOf(`cniVersion ${cniVersion}`, {
        cniVersion,
        prevResult: {
          ...resultOf({ ...ip4, version: '4' }),
          cniVersion,
        },
      }),
    ),
  caseOf('every protocol and every kind of address, by iptables', everyPort),
  caseOf(
    'every protocol and every kind of address, by nftables',
    { ...everyPort, backend: 'nftables' },
    { differences: ['portmap-owner', 'portmap-neighbours'] },
  ),
  ...byBoth('more ports than one rule can have', manyPorts),
  ...byBoth('IPv6 alone', { prevResult: resultOf(ip6) }),
  ...byBoth('without snat', { snat: false }),
  caseOf('masqAll, by iptables', { masqAll: true }),
  caseOf('masqAll, by nftables', { masqAll: true, backend: 'nftables' }, { differences: ['portmap-masq-all'] }),
  ...byBoth('keys in other cases', { SNAT: true, MarkMasqBit: 31 }),
  caseOf('conditions, by iptables', iptablesConditions),
  caseOf(
    'conditions, by nftables',
    { ...nftablesConditions, backend: 'nftables' },
    { differences: ['portmap-conditions'] },
  ),
  caseOf('conditions that only nftables understands, without a backend', nftablesConditions, {
    differences: ['portmap-backend'],
  }),
  caseOf('no mapping', { runtimeConfig: {} }),
  caseOf('no address', { prevResult: resultOf() }),
  caseOf('addresses of other interfaces', {
    prevResult: resultOf({ ...ip4, address: '10.1.2.8/24', interface: 0 }, ip4, { ...ip4, address: '10.1.2.7/24' }),
  }),
  caseOf('an address of no interface in particular', { prevResult: resultOf({ address: '10.1.2.9/24' }) }),
  caseOf('an address that the node has no way to', {
    prevResult: resultOf({ address: '172.31.0.9/24', interface: 1 }),
  }),
  ...byBoth('two containers, and the first one taken away', everyPort, {
    differences: ['portmap-latest'],
    steps: [
      { call: 'ADD' },
      { call: 'ADD', id: 'c2', config: { prevResult: resultOf({ ...ip4, address: '10.1.2.10/24' }) } },
      { call: 'CHECK', id: 'c2' },
      { call: 'DEL' },
    ],
  }),
  caseOf(
    'a second bit to mark with',
    { markMasqBit: 14 },
    {
      differences: ['portmap-latest'],
      steps: [{ call: 'ADD' }, { call: 'ADD', id: 'c2', config: { markMasqBit: 15 } }],
    },
  ),
  caseOf(
    'an ADD again, by iptables',
    {},
    { steps: [{ call: 'ADD' }, { call: 'ADD' }, { call: 'CHECK' }, { call: 'DEL' }] },
  ),
  ...byBoth(
    'an ADD again, with another port',
    {},
    {
      differences: ['portmap-again'],
      steps: [
        { call: 'ADD' },
        { call: 'ADD', config: mapped(dns) },
        { call: 'CHECK', config: mapped(dns) },
        { call: 'DEL' },
      ],
    },
  ),
  ...byBoth(
    'a DEL without a result, when the namespace is gone',
    {},
    {
      steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }, { call: 'DEL', netns: '' }],
    },
  ),
  ...byBoth(
    'a CHECK of a mapping that is not there',
    {},
    {
      steps: [
        { call: 'ADD' },
        { call: 'CHECK', config: mapped(web, dns), error: /not found|missing hostport rules/ },
        { call: 'DEL' },
        { call: 'CHECK', error: /not found|missing hostport rules|No such file/ },
      ],
    },
  ),
  ...byBoth(
    'a GC after a lost DEL',
    {},
    {
      differences: ['portmap-gc', 'portmap-latest'],
      steps: [
        { call: 'ADD' },
        {
          call: 'ADD',
          id: 'c2',
          config: { prevResult: resultOf({ ...ip4, address: '10.1.2.10/24' }), ...mapped(dns) },
        },
        { call: 'GC', config: { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'net1' }] } },
        { call: 'CHECK', id: 'c2', config: mapped(dns) },
      ],
    },
  ),
  {
    plugin,
    tries: 'refused: no prevResult',
    node,
    config: mapped(web),
    differences: ['configuration-code'],
    steps: [{ call: 'ADD', error: /must be called as chained plugin/ }, { call: 'DEL' }],
  },
  ...refusals(plugin, base, [
    {
      tries: 'a backend that nobody knows',
      keys: { backend: 'ipfw' },
      error: /backend/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'conditions of the other backend',
      keys: { backend: 'nftables', ...iptablesConditions },
      error:
        /nftables backend was requested but configuration contains iptables-specific options \[conditionsV4 conditionsV6\]/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a chain for marks, with nftables',
      keys: { backend: 'nftables', externalSetMarkChain: 'PLX-MARK' },
      error: /iptables-specific options \[externalSetMarkChain\]/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a chain for marks that is not there',
      keys: { externalSetMarkChain: 'PLX-MARK' },
      error: /PLX-MARK/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a chain for marks, and a bit',
      keys: { externalSetMarkChain: 'PLX-MARK', markMasqBit: 14 },
      error: /Cannot specify externalSetMarkChain and markMasqBit/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a bit that no mark has',
      keys: { markMasqBit: 32 },
      error: /markMasqBit|MasqMarkBit/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a condition without a word',
      keys: { conditionsV4: [''] },
      error: /conditionsV4|argument/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a condition that iptables does not know',
      keys: { conditionsV6: ['--no-such-option', '1'] },
      error: /no-such-option/,
      differences: ['nothing-half-made'],
    },
    {
      tries: 'a condition that nft does not know',
      keys: { backend: 'nftables', conditionsV6: ['no', 'such', 'expression'] },
      error: /Error: /,
      differences: ['nothing-half-made'],
    },
    {
      tries: 'port 0 of the node',
      keys: mapped({ ...web, hostPort: 0 }),
      error: /host ?port/i,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'port 0 of the container',
      keys: mapped({ ...web, containerPort: 0 }),
      error: /container ?port/i,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a port that there is not',
      keys: mapped({ ...web, hostPort: 70_000 }),
      error: /70000/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a protocol without ports',
      keys: mapped({ ...web, protocol: 'icmp' }),
      error: /protocol|--dport/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'no protocol',
      keys: mapped({ hostPort: 8080, containerPort: 80 }),
      error: /protocol/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a hostIP that is none',
      keys: mapped({ ...web, hostIP: 'x' }),
      error: /x/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
  ]).map((each) => ({ ...each, node })),
];
