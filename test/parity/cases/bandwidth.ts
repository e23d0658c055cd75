import type { JsonObject } from '../../../src/cni/json.ts';
import { lifecycle, type ParityCase, refusals } from '../case.ts';

const plugin = 'bandwidth';

const pod = [
  'link add net1 address 02:00:00:00:01:01 mtu 1400 type veth peer name cable1 address 06:00:00:00:01:01 mtu 1400 netns <node>',
  'link set net1 up',
];
const up = { node: ['link set cable1 up'] };

const prevResult = {
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'cable1', mac: '06:00:00:00:01:01' },
    { name: 'net1', mac: '02:00:00:00:01:01', sandbox: '<pod>' },
  ],
  ips: [{ address: '10.1.2.9/24', interface: 1 }],
};

const ingress = { ingressRate: 8_000_000, ingressBurst: 800_000 };
const egress = { egressRate: 3_000_001, egressBurst: 100_003 };
const both = { ...ingress, ...egress };

/** The interface of network and container, as both have it. */
const ifb = 'bwpa3f52ccdc47f';

const worksWith = (tries: string, keys: JsonObject, more: Partial<ParityCase> = {}): ParityCase => ({
  plugin,
  tries,
  pod,
  config: { prevResult, ...keys },
  ...more,
  steps: [up, ...(more.steps ?? lifecycle(String(keys['cniVersion'] ?? '1.1.0')))],
});

export const bandwidthCases: readonly ParityCase[] = [
  ...['0.3.0', '0.4.0', '1.0.0'].map((cniVersion) =>
    worksWith(`cniVersion ${cniVersion}`, { cniVersion, ...both, prevResult: { ...prevResult, cniVersion } }),
  ),
  worksWith(
    'cniVersion 0.2.0, which it does not speak',
    { cniVersion: '0.2.0', ...both },
    { steps: [{ call: 'ADD', error: /incompatible CNI versions/ }] },
  ),
  worksWith('both', both, { differences: ['bandwidth-redirect', 'bandwidth-alias', 'bandwidth-del'] }),
  worksWith('ingress', ingress),
  worksWith('egress', egress),
  worksWith('no limit', {}),
  worksWith('limits of 0', { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 }),
  worksWith('null', { ingressRate: null, ingressBurst: null, ...egress }),
  worksWith('keys in other cases', { IngressRATE: 8_000_000, INGRESSBURST: 800_000 }),
  worksWith("the runtime's limits", { runtimeConfig: { bandwidth: both } }),
  worksWith("the configuration's limits before the runtime's", { ...ingress, runtimeConfig: { bandwidth: egress } }),
  worksWith("a limit of 0 before the runtime's", { egressRate: 0, runtimeConfig: { bandwidth: both } }),
  worksWith('limits that are no whole bytes', {
    ingressRate: 1_234_567,
    ingressBurst: 99_999,
    egressRate: 1_000_000_007,
    egressBurst: 5_000_011,
  }),
  worksWith(
    "rates and bursts of the original's documentation",
    { ingressRate: 123, ingressBurst: 456, egressRate: 123, egressBurst: 456 },
    { differences: ['bandwidth-least-burst'] },
  ),
  worksWith(
    'the smallest rates and bursts',
    { ingressRate: 8, ingressBurst: 8, egressRate: 16, egressBurst: 8 },
    { differences: ['bandwidth-least-burst'] },
  ),
  worksWith(
    'the burst that runtimes say for no limit, at a slow rate',
    { ingressRate: 1_000_000, ingressBurst: 2_147_483_647 },
    { differences: ['bandwidth-longest-burst'] },
  ),
  worksWith('a rate beyond 34 gigabits', { ingressRate: 100_000_000_000, ingressBurst: 80_000_000 }),
  worksWith('shapedSubnets', { ...both, shapedSubnets: ['10.9.0.0/16'] }, { differences: ['bandwidth-subnets'] }),
  worksWith(
    'unshapedSubnets, by the runtime',
    { runtimeConfig: { bandwidth: { ...both, unshapedSubnets: ['10.9.0.0/16', 'fd00::/8'] } } },
    { differences: ['bandwidth-subnets'] },
  ),
  worksWith('an MTU of the cable that the IFB is to have', both, {
    steps: [{ node: ['link set cable1 mtu 1300'] }, ...lifecycle()],
  }),
  worksWith('a second ADD', both, {
    steps: [{ call: 'ADD' }, { call: 'ADD', error: /file exists/ }, { call: 'CHECK' }, { call: 'DEL' }],
  }),
  worksWith('limits that are not those of the ADD', both, {
    steps: [
      { call: 'ADD' },
      { call: 'CHECK', config: { ingressRate: 8_000_008 }, error: /Rate doesn't match/ },
      { call: 'CHECK', config: { ingressBurst: 800_008 }, error: /Limit doesn't match/ },
      { call: 'CHECK', config: { egressRate: 80_000 }, error: /Rate doesn't match/ },
      { node: [`link delete ${ifb}`] },
      { call: 'CHECK', error: /get ifb device: Link not found/ },
      { call: 'DEL' },
    ],
  }),
  worksWith('a DEL when the cable is gone', both, {
    steps: [{ call: 'ADD' }, { node: ['link delete cable1'] }, { call: 'DEL' }, { call: 'DEL' }],
  }),
  worksWith('a DEL when the namespace is gone', egress, {
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }],
  }),
  worksWith('a DEL without an ADD', both, { steps: [{ call: 'DEL' }] }),
  worksWith('a DEL without prevResult', { prevResult: null }, { steps: [{ call: 'DEL' }] }),
  worksWith(
    'no prevResult',
    { ...both, prevResult: null },
    {
      differences: ['configuration-code'],
      steps: [
        { call: 'ADD', error: /must be called as chained plugin/ },
        { call: 'CHECK', error: /must be called as a chained plugin|prevResult missing/ },
        { call: 'DEL' },
      ],
    },
  ),
  worksWith(
    'neither prevResult nor a limit',
    { prevResult: null },
    {
      differences: ['bandwidth-panic'],
      steps: [{ call: 'ADD', error: /panic|must be called as chained plugin/ }],
    },
  ),
  worksWith('an interface that is no cable', both, {
    steps: [{ call: 'ADD', ifName: 'lo', error: /container interface lo has no veth peer/ }],
  }),
  worksWith('an interface that is not there', both, {
    steps: [{ call: 'ADD', ifName: 'net2', error: /container interface net2 has no veth peer/ }],
  }),
  worksWith(
    "a prevResult without the cable's end on the node",
    { ...both, prevResult: { ...prevResult, interfaces: prevResult.interfaces.slice(1) } },
    { steps: [{ call: 'ADD', error: /no veth peer of container interface found in host ns/ }, { call: 'DEL' }] },
  ),
  worksWith(
    'a prevResult without interfaces',
    { ...both, prevResult: { cniVersion: '1.1.0' } },
    { steps: [{ call: 'ADD', error: /no interfaces provided/ }, { call: 'DEL' }] },
  ),
  worksWith(
    'a broken rate beside one that works',
    { ...both, egressRate: 7 },
    {
      differences: ['configuration-code', 'nothing-half-made'],
      steps: [{ call: 'ADD', error: /invalid argument|at least 8/ }, { call: 'DEL' }],
    },
  ),
  ...refusals(plugin, { prevResult }, [
    {
      tries: 'a rate without a burst',
      keys: { ingressRate: 8000 },
      error: /if rate is set, burst must also be set/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a burst without a rate, by the runtime',
      keys: { runtimeConfig: { bandwidth: { egressBurst: 8000 } } },
      error: /if burst is set, rate must also be set/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a burst of 4 gigabytes',
      keys: { egressRate: 8000, egressBurst: 34_359_738_368 },
      error: /burst cannot be more than 4GB/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a rate that is no number',
      keys: { egressRate: '1M', egressBurst: 8000 },
      error: /egressRate/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a rate below 0',
      keys: { ingressRate: -1, ingressBurst: 8000 },
      error: /ingressRate/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a burst below one byte',
      keys: { ingressRate: 8000, ingressBurst: 7 },
      error: /invalid argument|at least 8/,
      differences: ['configuration-code'],
    },
  ]).map((each) => ({ ...each, pod, steps: [up, ...(each.steps ?? [])] })),
];
