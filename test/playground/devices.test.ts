import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../src/cni/json.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
import { applyObjects } from '../../src/playground/apply.ts';
import { NodeDevices, parseDevices } from '../../src/playground/devices.ts';
import { type Playground, startPlayground } from '../../src/playground/playground.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { deviceInfo } from '../support/device.ts';
import { buildShim } from '../support/shim.ts';

const sriov = 'intel.com/sriov';

const requesting = (name: string, ...containers: readonly JsonObject[]) => {
  const { metadata, ...object } = pod(name, { annotations: { 'k8s.v1.cni.cncf.io/networks': 'vf' } });
  return {
    ...object,
    metadata: { ...metadata, uid: name },
    spec: { containers: containers.map((limits, i) => ({ name: `c${i}`, image: 'a', resources: { limits } })) },
  };
};

describe("the devices of the playground's node", () => {
  const given = (devices: NodeDevices) =>
    Object.fromEntries(
      devices
        .resources()
        .map(({ name = '', containers = [] }) => [
          name,
          containers.flatMap((each) => (each.devices ?? []).flatMap(({ deviceIds = [] }) => deviceIds)),
        ]),
    );
  const stored = (name: string, ...containers: readonly JsonObject[]) => {
    const { metadata, ...object } = requesting(name, ...containers);
    return { ...object, metadata: { ...metadata, resourceVersion: '1', creationTimestamp: '' } };
  };

  test('each goes to one pod at a time, in order, and comes back with it', () => {
    const devices = new NodeDevices(parseDevices([`${sriov}=a`, `${sriov}=b`, `${sriov}=c`, 'x.org/y=d=e']));
    assert.equal(devices.allocate(stored('p', { [sriov]: '1', cpu: '500m' }, { [sriov]: 1 })), undefined);
    assert.equal(devices.allocate(stored('p', { [sriov]: '1' }, { [sriov]: 1 })), undefined);
    assert.equal(devices.allocate(stored('q', { 'x.org/y': '1', [sriov]: '2' })), sriov);
    assert.equal(devices.allocate(stored('r', { 'x.org/y': '1', [sriov]: '1' })), undefined);
    assert.deepEqual(given(devices), { p: ['a', 'b'], r: ['c', 'd=e'] });
    devices.release('p');
    assert.equal(devices.allocate(stored('q', { [sriov]: '2' })), undefined);
    assert.deepEqual(given(devices), { r: ['c', 'd=e'], q: ['a', 'b'] });
  });

  for (const text of ['', sriov, `${sriov}=`, '=a']) {
    test(`are given as RESOURCE=ID, not as "${text}"`, () => {
      assert.throws(() => parseDevices([text]), /^Error: --device: expected RESOURCE=ID, such as .*, found /);
    });
  }
});

test('a pod that requests a device gets it in its network, and another waits until it is free', {
  timeout: 90_000,
}, async () => {
  await using playground = await startPlayground({
    nodeName: 'node-1',
    shim: await buildShim(),
    plexus: [process.execPath, resolve(import.meta.dirname, '../../bin/plexus')],
    devices: parseDevices([`${sriov}=vf-1`]),
    retryAfter: 20,
  });
  const told = join(playground.directory, 'devinfo/dp');
  await mkdir(told, { recursive: true });
  await writeFile(join(told, 'intel.com-sriov-vf-1-device.json'), JSON.stringify(deviceInfo));
  const config = { cniVersion: '1.0.0', type: 'macvlan', master: 'ens6', capabilities: { deviceID: true } };
  const { metadata, ...definition } = network('vf', JSON.stringify(config));
  const annotations = { 'k8s.v1.cni.cncf.io/resourceName': sriov };
  const { store } = playground.api;
  await applyObjects(store, [
    { ...definition, metadata: { ...metadata, annotations } },
    requesting('a', { [sriov]: '1' }),
    requesting('b', { [sriov]: '1' }),
  ]);
  await playground.kubelet.idle();
  assert.deepEqual(deviceOf(playground, 'a'), deviceInfo);
  assert.equal(deviceOf(playground, 'b'), undefined);
  // What never becomes so fails the test by its time limit.
  while (!store.list(events, 'default').some(({ reason }) => reason === 'FailedScheduling')) await sleep(10);
  const [event] = store.list(events, 'default').filter(({ reason }) => reason === 'FailedScheduling');
  assert.equal(event?.['message'], `0/1 nodes are available: 1 Insufficient ${sriov}.`);

  store.delete(pods, 'default', 'a');
  while (deviceOf(playground, 'b') === undefined) await sleep(10);
  assert.deepEqual(deviceOf(playground, 'b'), deviceInfo);
});

function deviceOf({ api }: Playground, name: string): unknown {
  const { annotations } = api.store.get(pods, 'default', name).metadata;
  const statuses: unknown = JSON.parse(annotations?.['k8s.v1.cni.cncf.io/network-status'] ?? '[]');
  return Array.isArray(statuses) ? statuses[1]?.['device-info'] : undefined;
}
