import type { JsonObject } from '../../../src/cni/json.ts';
import { type ParityCase, refusals } from '../case.ts';

const plugin = 'firewall';

const interfaces = [
  { name: 'br0', mac: '02:00:00:00:01:01' },
  { name: 'port1', mac: '02:00:00:00:01:02' },
  { name: 'net1', mac: '02:00:00:00:01:03', sandbox: '<pod>' },
];
const ip4 = { address: '10.1.2.9/24', gateway: '10.1.2.1', interface: 2 };
const ip6 = { address: 'fd00:1::9/64', gateway: 'fd00:1::1', interface: 2 };

const resultOf = (ips: readonly JsonObject[], keys: JsonObject = {}): JsonObject => ({
  cniVersion: '1.1.0',
  interfaces,
  ips,
  ...keys,
});

const settings: JsonObject = { backend: 'iptables', dataDir: '<data>/claims' };

const caseOf = (
  tries: string,
  keys: JsonObject = {},
  ips: readonly JsonObject[] = [ip4, ip6],
  more: Partial<ParityCase> = {},
): ParityCase => ({ plugin, tries, node: [], config: { ...settings, prevResult: resultOf(ips), ...keys }, ...more });

const another = { ...ip4, address: '10.1.2.10/24' };
const ofAnother = { id: 'c2', config: { prevResult: resultOf([another]) } };

export const firewallCases: readonly ParityCase[] = [
  ...['0.4.0', '1.0.0', '1.1.0'].map((cniVersion) =>
    caseOf(`cniVersion ${cniVersion}`, {
      cniVersion,
      prevResult: { ...resultOf([{ ...ip4, version: '4' }]), cniVersion },
    }),
  ),
  caseOf('no backend, on a node without firewalld', { backend: '' }),
  caseOf('an address of one family', {}, [ip6], { differences: ['firewall-claims'] }),
  caseOf('no address', {}, []),
  caseOf('an address of no interface', {}, [{ address: '10.1.2.9/24' }]),
  caseOf("the administrator's chain by another name", { iptablesAdminChainName: 'MY-OVERRIDES' }),
  caseOf('empty names', { iptablesAdminChainName: '', firewalldZone: '', ingressPolicy: '' }),
  caseOf('ingressPolicy open', { ingressPolicy: 'open' }),
  caseOf('ingressPolicy same-bridge', { ingressPolicy: 'same-bridge' }),
  caseOf('ingressPolicy isolated', { ingressPolicy: 'isolated' }),
  caseOf('ingressPolicy of an interface that is no bridge', {
    ingressPolicy: 'same-bridge',
    prevResult: resultOf([ip4], { interfaces: interfaces.slice(1) }),
  }),
  caseOf('an ADD that is repeated', { ingressPolicy: 'isolated' }, [ip4, ip6], {
    steps: [{ call: 'ADD' }, { call: 'ADD' }, { call: 'DEL' }],
  }),
  caseOf('two pods, and the first one goes', {}, [ip4], {
    steps: [{ call: 'ADD' }, { call: 'ADD', ...ofAnother }, { call: 'DEL' }, { call: 'CHECK', ...ofAnother }],
  }),
  caseOf('two bridges, and both policies', { ingressPolicy: 'isolated' }, [ip4], {
    steps: [
      { call: 'ADD' },
      {
        call: 'ADD',
        id: 'c2',
        config: {
          ingressPolicy: 'same-bridge',
          prevResult: resultOf([another], { interfaces: [{ name: 'br1', mac: '02:00:00:00:01:09' }] }),
        },
      },
      { call: 'DEL' },
      { call: 'DEL', id: 'c2' },
    ],
  }),
  caseOf('a policy after a pod without one', {}, [ip4], {
    steps: [
      { call: 'ADD' },
      { call: 'ADD', ...ofAnother, config: { ...ofAnother.config, ingressPolicy: 'same-bridge' } },
    ],
  }),
  caseOf('a DEL whose namespace is gone', {}, [ip4, ip6], {
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }],
  }),
  caseOf('a DEL without an ADD', {}, [ip4], { steps: [{ call: 'DEL' }] }),
  ...refusals(plugin, { ...settings, prevResult: resultOf([ip4]) }, [
    {
      tries: 'a policy that nobody knows',
      keys: { ingressPolicy: 'closed' },
      error: /closed/,
      differences: ['configuration-code', 'nothing-half-made', 'del-broken-configuration'],
    },
    {
      tries: 'a policy without an interface',
      keys: { ingressPolicy: 'same-bridge', prevResult: resultOf([{ address: '10.1.2.9/24' }], { interfaces: [] }) },
      error: /interface needs to be set for ingress.?policy "same-bridge"/i,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a policy whose bridge has no name',
      keys: {
        ingressPolicy: 'isolated',
        prevResult: resultOf([{ address: '10.1.2.9/24' }], { interfaces: [{ name: '', mac: '02:00:00:00:01:01' }] }),
      },
      error: /got empty bridge name/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: "a policy whose bridge's name is too long",
      keys: {
        ingressPolicy: 'isolated',
        prevResult: resultOf([{ address: '10.1.2.9/24' }], { interfaces: [{ name: 'a-bridge-of-seventeen' }] }),
      },
      error: /a-bridge-of-seventeen/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: "an administrator's chain of two words",
      keys: { iptablesAdminChainName: 'a b' },
      error: /a b/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: "an administrator's chain with a name that is too long",
      keys: { iptablesAdminChainName: 'a'.repeat(29) },
      error: /a{29}/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: "a target as the administrator's chain",
      keys: { iptablesAdminChainName: 'ACCEPT' },
      error: /chain/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a backend that is no text',
      keys: { backend: 5 },
      error: /backend/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'firewalld where there is none',
      keys: { backend: 'firewalld' },
      error: /bus/,
      differences: ['del-broken-configuration'],
    },
  ]).map((each) => ({ ...each, node: [] })),
  ...refusals(plugin, settings, [
    { tries: 'no prevResult', keys: {}, error: /missing prevResult/, differences: ['configuration-code'] },
  ]).map((each) => ({ ...each, node: [] })),
  caseOf('a backend that nobody knows', { backend: 'ipfw' }, [ip4], {
    steps: [{ call: 'ADD' }, { call: 'DEL' }],
    differences: ['firewall-backend'],
  }),
  caseOf('the backend nftables', { backend: 'nftables', ingressPolicy: 'isolated' }, [ip4], {
    steps: [{ call: 'ADD' }, { call: 'DEL' }],
    differences: ['firewall-nftables'],
  }),
  caseOf(
    "a policy where the first interface is the pod's",
    {
      ingressPolicy: 'isolated',
      prevResult: resultOf([{ ...ip4, interface: 0 }], { interfaces: interfaces.slice(2) }),
    },
    [],
    {
      steps: [{ call: 'ADD' }, { call: 'DEL' }],
      differences: ['firewall-policy'],
    },
  ),
  caseOf('the ports of isolated pods', { ingressPolicy: 'isolated' }, [ip4], {
    node: ['link add br0 type bridge', 'link add port1 master br0 type veth peer name port1p'],
    steps: [{ call: 'ADD' }, { call: 'DEL' }],
    differences: ['firewall-isolated'],
  }),
  caseOf('rules that are gone at CHECK', { ingressPolicy: 'isolated' }, [ip4], {
    steps: [{ call: 'ADD' }, { call: 'DEL' }, { call: 'CHECK', error: /expected rule .*not found/ }],
  }),
  caseOf("another pod's address, in a DEL that comes late", {}, [ip4], {
    steps: [{ call: 'ADD' }, { call: 'DEL' }, { call: 'ADD', id: 'c2' }, { call: 'DEL' }],
    differences: ['firewall-late'],
  }),
  caseOf('a policy that is not there at CHECK', {}, [ip4], {
    steps: [{ call: 'ADD' }, { call: 'CHECK', config: { ingressPolicy: 'isolated' } }],
    differences: ['firewall-check'],
  }),
  caseOf('chains that are not there at CHECK', {}, [ip4], {
    steps: [{ call: 'CHECK', error: /expected .*not found/ }],
    differences: ['firewall-check'],
  }),
];
