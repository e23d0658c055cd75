import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { podResourcesSocket } from '../../../src/kubelet/pod-devices.ts';
import { servePodResources } from '../../../src/playground/pod-resources.ts';
import { network } from '../../playground-api/manifests.ts';
import { ip } from '../../plugins/support.ts';
import { testDirectory } from '../../support/directory.ts';
import { addWire, becomeNode } from '../../support/node.ts';
import { eventually, macvlan, startLiveNode } from './node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

test('a network that is attached while the pod runs gets a device that the others have left, and gives it back', {
  timeout: 120_000,
}, async () => {
  await using directory = await testDirectory();
  const settings = { kubeletDir: join(directory.path, 'kubelet'), deviceInfoDir: join(directory.path, 'devinfo') };
  const devices = [{ resourceName: 'intel.com/sriov', deviceIds: ['vf-2', 'vf-1'] }];
  const given = [{ name: 'app', namespace: 'default', containers: [{ devices }] }];
  await using _kubelet = await servePodResources(podResourcesSocket(settings.kubeletDir), () => given);
  const info = (id: string) => ({ type: 'pci', version: '1.1.0', pci: { 'pci-address': id } });
  await mkdir(join(settings.deviceInfoDir, 'dp'), { recursive: true });
  for (const id of ['vf-1', 'vf-2']) {
    const file = join(settings.deviceInfoDir, 'dp', `intel.com-sriov-${id}-device.json`);
    await writeFile(file, JSON.stringify(info(id)));
  }

  await using node = await startLiveNode({ config: settings });
  const ipam = { type: 'host-local', dataDir: join(directory.path, 'networks') };
  const config = macvlan(ipam, '10.1.0.0/24', { capabilities: { deviceID: true } });
  const { metadata, ...definition } = network('vf', JSON.stringify(config));
  const annotations = { 'k8s.v1.cni.cncf.io/resourceName': 'intel.com/sriov' };
  node.api.store.create({ ...definition, metadata: { ...metadata, annotations } });

  const told = () => node.status().map((each) => each['device-info']);
  const files = () => readdir(join(settings.deviceInfoDir, 'cni'));
  const sandbox = await node.addPod('vf');
  assert.deepEqual(told(), [undefined, info('vf-1')]);
  node.annotate('vf,vf');
  await eventually(told, [undefined, info('vf-1'), info('vf-2')]);
  assert.deepEqual((await files()).sort(), ['default-vf-sandbox-app_net1', 'default-vf-sandbox-app_net2']);

  node.annotate('vf,vf,vf');
  const events = await node.events(4);
  assert.match(
    events.at(-1) ?? '',
    /^FailedAddingInterface: .*network default\/vf wants a device of resource intel.com\/sriov: the pod has vf-2, vf-1, of which 0 are free/,
  );
  assert.deepEqual(told(), [undefined, info('vf-1'), info('vf-2')]);

  node.annotate('vf');
  await eventually(told, [undefined, info('vf-1')]);
  assert.deepEqual(await files(), ['default-vf-sandbox-app_net1']);
  node.annotate('vf,vf@data0');
  await eventually(told, [undefined, info('vf-1'), info('vf-2')]);
  assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
  assert.deepEqual(await files(), []);
});
