import type { JsonObject } from '../../../src/cni/json.ts';
import { type CallStep, lifecycle, type ParityCase, type Refusal, refusals, versions } from '../case.ts';

const plugin = 'static';
const ipam = (keys: JsonObject): JsonObject => ({ ipam: { type: 'static', ...keys } });
const one = ipam({ addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }] });

/** The lifecycle, with the same for every call. */
const calls = (rest: Partial<CallStep>): readonly CallStep[] => lifecycle().map((step) => ({ ...step, ...rest }));

const lifecycles: readonly ParityCase[] = [
  ...versions.map((cniVersion) => ({
    plugin,
    tries: `addresses of both families, routes and dns in cniVersion ${cniVersion}`,
    config: {
      cniVersion,
      ...ipam({
        addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }, { address: 'fd00::9/64' }],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.1.2.9' }, { dst: '::/0' }],
        dns: { nameservers: ['10.1.2.53'], domain: 'example', search: ['a', 'b'], options: ['ndots:2'] },
      }),
    },
  })),
  {
    plugin,
    tries: 'routes with every key',
    config: ipam({
      addresses: [{ address: '10.1.2.9/24' }],
      routes: [{ dst: '10.9.0.0/16', gw: '10.1.2.9', mtu: 1300, advmss: 1200, priority: 50, table: 100, scope: 253 }],
    }),
  },
  { plugin, tries: 'an IPv6 address in another form', config: ipam({ addresses: [{ address: 'FD00:0::0009/64' }] }) },
  { plugin, tries: 'no address', config: ipam({}) },
  {
    plugin,
    tries: 'CNI_ARGS beside the configuration',
    config: one,
    steps: calls({ args: 'IP=10.1.3.9/24;GATEWAY=10.1.3.1' }),
  },
  {
    plugin,
    tries: 'two addresses in CNI_ARGS',
    config: ipam({}),
    steps: calls({ args: 'IP=10.1.3.9/24,fd00::9/64;GATEWAY=10.1.3.1,fd00::1' }),
  },
  {
    plugin,
    tries: 'args.cni in the place of both',
    config: { ...one, args: { cni: { ips: ['10.1.4.9/24'] } } },
    steps: calls({ args: 'IP=10.1.3.9/24' }),
  },
  {
    plugin,
    tries: 'the runtime in the place of all',
    config: { ...one, args: { cni: { ips: ['10.1.4.9/24'] } }, runtimeConfig: { ips: ['10.1.5.9/24', 'fd00::9/64'] } },
    steps: calls({ args: 'IP=10.1.3.9/24' }),
  },
];

const refused: readonly Refusal[] = [
  {
    tries: 'an address that is none',
    differences: ['configuration-code'],
    keys: ipam({ addresses: [{ address: 'abc' }] }),
    error: /abc/,
  },
  {
    tries: 'an address without a prefix length',
    differences: ['configuration-code'],
    keys: ipam({ addresses: [{ address: '10.1.2.9' }] }),
    error: /10\.1\.2\.9/,
  },
  { tries: 'CNI_ARGS with an address that is none', keys: ipam({}), args: 'IP=x/24', error: /x\/24/ },
  { tries: 'CNI_ARGS with a gateway that is none', keys: ipam({}), args: 'IP=10.1.3.9/24;GATEWAY=x', error: /x/ },
  { tries: 'an argument that nobody knows', keys: ipam({}), args: 'FOO=1', error: /ARGS: unknown args \["FOO=1"\]/ },
];

export const staticCases: readonly ParityCase[] = [
  ...lifecycles,
  ...refusals(plugin, {}, refused),
  {
    plugin,
    tries: 'a CHECK with another gateway',
    config: one,
    steps: [
      { call: 'ADD' },
      {
        call: 'CHECK',
        config: ipam({ addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.2' }] }),
        error: /static: Failed to match addr/,
      },
    ],
  },
  {
    plugin,
    tries: 'a CHECK of an address that is not in the result',
    config: one,
    steps: [{ call: 'ADD' }, { call: 'CHECK', config: ipam({ addresses: [{ address: '10.1.3.9/24' }] }) }],
    differences: ['check-lost-address'],
  },
];
