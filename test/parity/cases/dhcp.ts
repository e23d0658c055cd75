import type { JsonObject } from '../../../src/cni/json.ts';
import type { ParityCase } from '../case.ts';

const plugin = 'dhcp';

/** One address, so that both servers give the same. */
const range: readonly [string, string] = ['10.5.0.10', '10.5.0.10'];

let count = 0;

/** Each in a network of its own: what Plexus knows of leases is the machine's. */
function caseOf(
  tries: string,
  ipam: JsonObject,
  more: Partial<ParityCase> & { readonly options?: readonly string[] } = {},
): ParityCase {
  const { options = [], config = {}, differences = [], ...rest } = more;
  return {
    plugin,
    tries,
    config: {
      name: `dhcp-${count++}`,
      ipam: { type: 'dhcp', daemonSocketPath: '<data>/dhcp.sock', ...ipam },
      ...config,
    },
    node: [],
    dhcp: { range, options },
    differences: differences.length > 0 ? differences : ['dhcp-release'],
    ...rest,
  };
}

const requestAll = { request: [{ option: '121' }, { option: '33' }, { option: 'routers' }] };

const broken = ['del-broken-configuration'] as const;

const refusal = (
  tries: string,
  ipam: JsonObject,
  error: RegExp,
  args = '',
  differences: ParityCase['differences'] = [],
): ParityCase =>
  caseOf(`refused: ${tries}`, ipam, {
    steps: [{ call: 'ADD', args, error }, { call: 'DEL' }],
    differences: ['configuration-code', ...differences],
  });

export const dhcpCases: readonly ParityCase[] = [
  ...['0.2.0', '0.4.0', '1.1.0'].map((cniVersion) =>
    caseOf(`cniVersion ${cniVersion}`, {}, { config: { cniVersion } }),
  ),
  caseOf(
    'options that are provided, by name, by number and from CNI_ARGS',
    {
      provide: [
        { option: 'host-name', value: 'unused', fromArg: 'NAME' },
        { option: '60', value: 'plexus' },
        { option: 'user-class', value: 'pods' },
      ],
    },
    { steps: [{ call: 'ADD', args: 'NAME=web-0' }, { call: 'DEL' }] },
  ),
  caseOf('a client identifier of its own', { provide: [{ option: 'dhcp-client-identifier', value: 'web-0' }] }),
  caseOf('a server without a router', {}, { options: ['--dhcp-option=3'] }),
  caseOf('a router that is not the server', {}, { options: ['--dhcp-option=3,10.5.0.7,10.5.0.8'] }),
  caseOf('classless routes, which count alone', requestAll, {
    options: ['--dhcp-option=121,10.9.0.0/16,10.5.0.7,10.8.0.0/16,0.0.0.0', '--dhcp-option=33,192.168.7.0,10.5.0.8'],
  }),
  caseOf('static routes beside the router', requestAll, { options: ['--dhcp-option=33,192.168.7.0,10.5.0.8'] }),
  caseOf('no default requests', { request: [{ skipDefault: true, option: 'subnet-mask' }] }),
  caseOf('nothing requested at all', { request: [{ skipDefault: true }] }),
  caseOf('a second ADD has the same lease', {}, { steps: [{ call: 'ADD' }, { call: 'ADD' }, { call: 'DEL' }] }),
  caseOf(
    'a CHECK without a lease',
    {},
    {
      steps: [
        { call: 'CHECK', config: { prevResult: { cniVersion: '1.1.0' } }, error: /no DHCP lease is kept/ },
        { call: 'DEL' },
      ],
      differences: ['dhcp-check'],
    },
  ),
  caseOf(
    'a namespace that is gone',
    {},
    {
      steps: [{ call: 'ADD', netns: '/run/netns/plx-test-gone', error: /plx-test-gone/ }, { call: 'DEL' }],
      differences: ['namespace-code'],
    },
  ),
  caseOf(
    'an interface that is not there',
    {},
    {
      steps: [
        { call: 'ADD', ifName: 'net9', error: /net9/ },
        { call: 'DEL', ifName: 'net9' },
      ],
      differences: ['error-version'],
    },
  ),
  refusal(
    'an option that has no such name',
    { provide: [{ option: 'foo', value: 'x' }] },
    /Can not parse option "foo"/,
  ),
  refusal(
    'a value that is too long',
    { provide: [{ option: '12', value: 'x'.repeat(256) }] },
    /value too long for option "12"/,
  ),
  refusal(
    'a value of CNI_ARGS that is too long',
    { provide: [{ option: '12', fromArg: 'A' }] },
    /value too long for option "12" from CNI_ARGS "A"/,
    `A=${'x'.repeat(256)}`,
  ),
  refusal('a request that has no such name', { request: [{ option: 'foo' }] }, /Can not parse option "foo"/),
  refusal('a number in the place of a name', { request: [{ option: 6 }] }, /option/, '', broken),
  refusal('a socket that is no path', { daemonSocketPath: 5 }, /daemonSocketPath/i, '', broken),
];
