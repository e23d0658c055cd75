import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { checkpointFile, podResourcesSocket, readPodDevices } from '../../src/kubelet/pod-devices.ts';
import { readPodResources } from '../../src/kubelet/pod-resources.ts';
import { type GivenResources, servePodResources } from '../../src/playground/pod-resources.ts';
import { testDirectory } from '../support/directory.ts';

const pod = { namespace: 'default', name: 'app', uid: '970a395d-bb3b-11e8-89df-408d5c537d23' };

const other: GivenResources = {
  name: 'app',
  namespace: 'other',
  containers: [{ devices: [{ resourceName: 'intel.com/sriov', deviceIds: ['0000:03:02.7'] }] }],
};

const app: GivenResources = {
  name: 'app',
  namespace: 'default',
  containers: [
    {
      name: 'main',
      devices: [
        { resourceName: 'intel.com/sriov', deviceIds: ['0000:03:02.3'] },
        { resourceName: 'intel.com/sriov', deviceIds: ['0000:03:02.0'] },
        { resourceName: 'intel.com/fpga', deviceIds: ['fpga-1'] },
      ],
      dynamicResources: [
        {
          claimName: 'app-nic-x7k2p',
          claimNamespace: 'default',
          claimResources: [
            {
              driverName: 'sriov.example.org',
              poolName: 'node-1',
              deviceName: 'vf-1',
              cdiDevices: [{ name: 'example.org/vf=0000:03:03.1' }],
            },
          ],
        },
      ],
    },
    { name: 'sidecar', devices: [{ resourceName: 'intel.com/sriov', deviceIds: ['0000:03:02.1'] }] },
  ],
};

const given = {
  'intel.com/sriov': ['0000:03:02.3', '0000:03:02.0', '0000:03:02.1'],
  'intel.com/fpga': ['fpga-1'],
  'app-nic-x7k2p': ['0000:03:03.1'],
};

async function writeCheckpoint(kubeletDir: string, content: unknown): Promise<void> {
  const path = checkpointFile(kubeletDir);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
}

const entry = (DeviceIDs: unknown, more: object = {}) => ({
  PodUID: pod.uid,
  ContainerName: 'main',
  ResourceName: 'intel.com/sriov',
  DeviceIDs,
  AllocResp: 'CikKC3NyaW92X25ldF9BEhogMDAwMDowMzowMi4zIDAwMDA6MDM6MDIuMA==',
  ...more,
});

const checkpoint = (...PodDeviceEntries: object[]) => ({
  Data: { PodDeviceEntries, RegisteredDevices: { 'intel.com/sriov': ['0000:03:02.0'] } },
  Checksum: 229855270,
});

describe("kubelet's API of pod resources", () => {
  for (const offersGet of [true, false]) {
    test(`${offersGet ? 'with' : 'without'} Get tells the devices of all containers, and those of claims by the claim's name`, async () => {
      await using directory = await testDirectory();
      const socket = podResourcesSocket(directory.path);
      await using _kubelet = await servePodResources(socket, () => [other, app], { offersGet });
      const { source, devices } = await readPodDevices(directory.path, pod);
      assert.equal(source, 'its API of pod resources');
      assert.deepEqual(Object.fromEntries(devices), given);
    });
  }

  test('a pod that it does not know has none, whatever the checkpoint says', async () => {
    await using directory = await testDirectory();
    await writeCheckpoint(directory.path, checkpoint(entry(['0000:03:02.3'])));
    await using _kubelet = await servePodResources(podResourcesSocket(directory.path), () => [other]);
    const { devices } = await readPodDevices(directory.path, pod);
    assert.equal(devices.size, 0);
  });

  test('an answer of more than 16 MiB is refused, and the checkpoint read', async () => {
    await using directory = await testDirectory();
    await writeCheckpoint(directory.path, checkpoint(entry(['0000:03:02.3'])));
    const huge = { ...app, containers: [{ name: 'x'.repeat(17 * 1024 * 1024) }] };
    await using _kubelet = await servePodResources(podResourcesSocket(directory.path), () => [huge]);
    await assert.rejects(readPodResources(podResourcesSocket(directory.path), pod), /larger than max/);
    const { source } = await readPodDevices(directory.path, pod);
    assert.equal(source, checkpointFile(directory.path));
  });

  test('a kubelet that takes the call and never answers is waited for no longer than the limit', async (t) => {
    await using directory = await testDirectory();
    const socket = podResourcesSocket(directory.path);
    await mkdir(dirname(socket));
    const silent = createServer((connection) => t.after(() => connection.destroy()));
    t.after(() => silent.close());
    await new Promise<void>((resolve) => silent.listen(socket, resolve));
    await assert.rejects(readPodResources(socket, pod, 50), /DEADLINE_EXCEEDED/);
  });
});

describe("kubelet's checkpoint, where it does not answer", () => {
  const cases: [title: string, content: unknown, expected: readonly string[] | undefined][] = [
    ['ids by NUMA node', checkpoint(entry({ '-1': ['a'], '0': ['b', 'c'] })), ['a', 'b', 'c']],
    ['a list of ids, as before Kubernetes 1.20', checkpoint(entry(['a', 'b'])), ['a', 'b']],
    [
      'several containers',
      checkpoint(entry({ '0': ['b'] }), entry({ '1': ['a'] }, { ContainerName: 'x' })),
      ['a', 'b'],
    ],
    ['no ids', checkpoint(entry(null)), []],
    ['a NUMA node without ids', checkpoint(entry({ '0': null, '1': ['a'] })), ['a']],
    ['another pod', checkpoint(entry({ '0': ['a'] }, { PodUID: 'b' })), undefined],
    ['no entries', { Data: { PodDeviceEntries: null } }, undefined],
  ];
  for (const [title, content, expected] of cases) {
    test(title, async () => {
      await using directory = await testDirectory();
      await writeCheckpoint(directory.path, content);
      const { source, devices } = await readPodDevices(directory.path, pod);
      assert.equal(source, checkpointFile(directory.path));
      assert.deepEqual(devices.get('intel.com/sriov')?.toSorted(), expected);
    });
  }

  test('a socket that nobody listens on is no answer', async () => {
    await using directory = await testDirectory();
    await writeCheckpoint(directory.path, checkpoint(entry({ '0': ['a'] })));
    await mkdir(dirname(podResourcesSocket(directory.path)), { recursive: true });
    await writeFile(podResourcesSocket(directory.path), '');
    const { devices } = await readPodDevices(directory.path, pod);
    assert.deepEqual(devices.get('intel.com/sriov'), ['a']);
  });

  const broken: [title: string, content: unknown, reason: RegExp][] = [
    ['no JSON', 'BAD', /is not valid JSON/],
    ['another document', { Data: [] }, /is no checkpoint of kubelet: Data: /],
    ['ids that are numbers', checkpoint(entry([1])), /is no checkpoint of kubelet: Data.PodDeviceEntries.0.DeviceIDs/],
    ['more than 16 MiB', ' '.repeat(16 * 1024 * 1024 + 1), /at most 16777216 are read/],
  ];
  for (const [title, content, reason] of broken) {
    test(`${title}: an error that names both places, and what to do`, async () => {
      await using directory = await testDirectory();
      await writeCheckpoint(directory.path, content);
      await assert.rejects(readPodDevices(directory.path, pod), (error) => {
        assert.ok(error instanceof CniError);
        assert.equal(error.code, 11);
        assert.match(error.message, /^kubelet could not be asked for the devices of pod default\/app: /);
        assert.ok(error.message.includes(`${podResourcesSocket(directory.path)}: ENOENT`), error.message);
        assert.match(error.message, reason);
        assert.match(error.details, /^see that kubelet runs, .* name that in kubeletDir$/);
        return true;
      });
    });
  }
});
