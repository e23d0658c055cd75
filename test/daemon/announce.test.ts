import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { announce } from '../../src/daemon/spool/announce.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
import { playground, until } from '../kubernetes/playground.ts';
import { network, pod } from '../playground-api/manifests.ts';

/* What the events of a pod say that started with its default network only, while there was no daemon. */

const config = {
  cniVersion: '1.1.0',
  name: 'plexus',
  type: 'plexus',
  delegates: [{ cniVersion: '1.0.0', name: 'main', type: 'fake' }],
};

const adopted = (name: string, uid: string) => ({
  attachment: {
    containerId: 'c1',
    netns: '/run/netns/plx-none',
    ifName: 'eth0',
    args: new Map([
      ['K8S_POD_NAMESPACE', 'default'],
      ['K8S_POD_NAME', name],
      ['K8S_POD_UID', uid],
    ]),
    path: [],
  },
  pod: `default/${name}`,
  config,
  planned: [
    {
      network: 'main',
      ifName: 'eth0',
      isDefault: true,
      config: '',
      source: '',
      defaultName: '',
      runtimeConfig: {},
      cniArgs: {},
    },
  ],
  result: { cniVersion: '1.0.0', ips: [{ address: '10.0.0.2/24' }] },
});

const prefix = 'DefaultNetworkOnly: started while Plexus was down, with the default network only; ';

describe('a pod that started without a daemon is told', { timeout: 30_000 }, () => {
  for (const [name, annotations, overlay, expected] of [
    ['nothing more where it lacks nothing', {}, {}, undefined],
    ['what it asks for', { 'k8s.v1.cni.cncf.io/networks': 'blue, other/red' }, {}, 'default/blue, other/red wait'],
    ['what every pod gets', {}, { defaultNetworks: ['storage'] }, 'storage waits'],
    [
      'the default network that it asked for in vain',
      { 'v1.multus-cni.io/default-network': 'blue' },
      {},
      'its default network was to be kube-system/blue: delete the pod, so that it is made again',
    ],
    [
      'that what it asks for makes no sense',
      { 'k8s.v1.cni.cncf.io/networks': 'a/b/c' },
      {},
      /^what else it asks for cannot be attached: /,
    ],
  ] as const) {
    test(name, async () => {
      const objects = [
        pod('app', { annotations: { ...annotations } }),
        network('storage', '{"type":"fake"}', 'kube-system'),
      ];
      await using it = await playground({ objects });
      const { uid } = it.api.store.list(pods)[0]?.metadata ?? { uid: '' };
      const { signal } = new AbortController();
      await announce(adopted('app', uid), { cluster: it.cluster, overlay: { ...overlay }, signal });
      const told = () => it.api.store.list(events).map((event) => `${event['reason']}: ${event['message']}`);
      const count = expected === undefined ? 1 : 2;
      await until(() => told().length === count);
      const [added, lacks = ''] = told();
      assert.equal(added, 'AddedInterface: Add eth0 [10.0.0.2/24] from main');
      if (expected === undefined) return;
      assert.equal(lacks.slice(0, prefix.length), prefix);
      const rest = lacks.slice(prefix.length);
      if (typeof expected === 'string') assert.equal(rest, expected);
      else assert.match(rest, expected);
    });
  }

  test('nothing where it is gone', async () => {
    await using it = await playground({ objects: [] });
    await announce(adopted('app', 'u1'), { cluster: it.cluster, overlay: {}, signal: new AbortController().signal });
    assert.deepEqual(it.api.store.list(events), []);
  });
});
