import { compareVersions } from '../../../src/cni/version.ts';
import { type ParityCase, versions } from '../case.ts';

const plugin = 'loopback';

export const loopbackCases: readonly ParityCase[] = [
  ...versions.map(
    (cniVersion): ParityCase => ({
      plugin,
      tries: `cniVersion ${cniVersion}`,
      config: { cniVersion },
      differences: compareVersions(cniVersion, '1.0.0') < 0 ? ['loopback-version'] : [],
    }),
  ),
  {
    plugin,
    tries: 'a result of the plugin before it',
    config: {
      prevResult: {
        cniVersion: '1.1.0',
        interfaces: [{ name: 'net1', mac: '02:00:00:00:00:01', sandbox: '<pod>' }],
        ips: [{ address: '10.1.2.9/24', interface: 0 }],
        routes: [{ dst: '0.0.0.0/0' }],
        dns: { nameservers: ['10.1.2.53'] },
      },
    },
  },
  {
    plugin,
    tries: 'an interface that is up already, and down at CHECK',
    pod: ['link set lo up'],
    config: {},
    steps: [{ call: 'ADD' }, { pod: ['link set lo down'] }, { call: 'CHECK', error: /loopback interface is down/ }],
  },
  {
    plugin,
    tries: 'an address that lo should not have',
    differences: ['loopback-untouched'],
    pod: ['address add 10.1.2.9/24 dev lo'],
    config: {},
    steps: [{ call: 'ADD', error: /non-loopback address.*10\.1\.2\.9/ }, { call: 'DEL' }],
  },
  {
    plugin,
    tries: 'a namespace that is gone',
    differences: ['namespace-code', 'error-version'],
    config: {},
    steps: [
      { call: 'ADD', netns: '/run/netns/plx-none', error: /plx-none/ },
      { call: 'DEL', netns: '/run/netns/plx-none' },
      { call: 'DEL', netns: '' },
    ],
  },
];
