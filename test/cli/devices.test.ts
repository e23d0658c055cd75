import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { checkDevices } from '../../src/cli/doctor/devices.ts';
import { definitionsIn } from '../../src/cli/doctor/networks.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { podResourcesSocket } from '../../src/kubelet/pod-devices.ts';
import { servePodResources } from '../../src/playground/pod-resources.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { testDirectory } from '../support/directory.ts';
import { run } from './plexus.ts';

const sriov = 'intel.com/sriov';

function wanting(name: string, type: string, resource = sriov) {
  const { metadata, ...definition } = network(name, JSON.stringify({ cniVersion: '1.0.0', type }));
  return { ...definition, metadata: { ...metadata, annotations: { 'k8s.v1.cni.cncf.io/resourceName': resource } } };
}

describe('plexus explain', { timeout: 60_000 }, () => {
  const asking = (networks: string, spec: JsonObject) => {
    const object = pod('a', { annotations: { 'k8s.v1.cni.cncf.io/networks': networks } });
    return { ...object, spec: { ...object.spec, ...spec } };
  };
  const containers = (...requests: readonly JsonObject[]) => ({
    containers: requests.map((resources, index) => ({ name: `c${index}`, image: 'example.org/main:1', resources })),
  });

  const cases: { title: string; networks: string; spec: JsonObject; line: string; problem?: RegExp }[] = [
    {
      title: 'as many devices as networks, over all containers: all is well, though host-device names no device itself',
      networks: 'vf,vf',
      spec: containers({ limits: { [sriov]: '1' } }, { limits: { [sriov]: 1 }, requests: { [sriov]: 1 } }),
      line: 'Devices of intel.com/sriov: 2 wanted, 2 requested.',
    },
    {
      title: 'fewer devices than networks',
      networks: 'vf,vf',
      spec: containers({ limits: { [sriov]: '1' } }),
      line: 'Devices of intel.com/sriov: 2 wanted, 1 requested.',
      problem:
        /resource intel.com\/sriov: default\/vf, default\/vf want 2 devices, and the pod's containers request 1; request as many, as "limits": {"intel.com\/sriov": 2} in one of them/,
    },
    {
      title: 'no device',
      networks: 'vf',
      spec: containers({}),
      line: 'Devices of intel.com/sriov: 1 wanted, 0 requested.',
      problem: /default\/vf wants a device, and the pod's containers request none/,
    },
    {
      title: 'no device, of a network that may do without',
      networks: 'bridge',
      spec: containers({}),
      line: 'Devices of bridge.network.kubevirt.io/br1: 1 wanted, 0 requested.',
    },
    {
      title: 'a claim, which may stand for any device',
      networks: 'vf',
      spec: { ...containers({}), resourceClaims: [{ name: 'nic', resourceClaimName: 'nic-1' }] },
      line: 'Devices of intel.com/sriov: 1 wanted, 0 requested.',
    },
  ];
  for (const { title, networks, spec, line, problem } of cases) {
    test(title, async () => {
      await using directory = await testDirectory();
      const file = join(directory.path, 'manifests.yaml');
      const bridge = wanting('bridge', 'bridge', 'bridge.network.kubevirt.io/br1');
      const objects = [wanting('vf', 'host-device'), bridge, asking(networks, spec)];
      await writeFile(file, objects.map((object) => JSON.stringify(object)).join('\n---\n'));
      const { status, stdout } = await run(['explain', '-f', file]);
      assert.ok(stdout.split('\n').includes(line), stdout);
      if (problem === undefined) assert.ok(stdout.includes('No problem was found.'), stdout);
      else assert.match(stdout, problem);
      assert.equal(status, problem === undefined ? 0 : 1);
    });
  }

  test('tells programs the resource of each interface, and of the pod how many are wanted and requested', async () => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'manifests.yaml');
    const objects = [wanting('vf', 'host-device'), asking('vf', containers({ limits: { [sriov]: '2' } }))];
    await writeFile(file, objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    const { items } = JSON.parse((await run(['explain', '-f', file, '-o', 'json'])).stdout);
    assert.deepEqual(items[0].devices, [{ resource: sriov, networks: ['default/vf'], requested: 2 }]);
    assert.deepEqual(
      items[0].interfaces.map((each: JsonObject) => each['resource']),
      [undefined, sriov],
    );
  });
});

describe('plexus doctor', () => {
  const definitions = definitionsIn([wanting('a', 'sriov'), wanting('b', 'sriov'), network('c')]);

  test("tells where kubelet's socket is missing, and who needs it", async () => {
    await using directory = await testDirectory();
    const [finding, ...more] = await checkDevices(definitions, directory.path);
    assert.equal(more.length, 0);
    assert.equal(finding?.isFine, false);
    assert.equal(
      finding?.text,
      `${podResourcesSocket(directory.path)}, by which kubelet tells the devices of pods, is not there; ` +
        'needed for default/a (intel.com/sriov) and default/b (intel.com/sriov)',
    );
    assert.match(finding?.remedy ?? '', /kubeletDir/);
  });

  test('is content where it is there, and silent where nobody needs it', async () => {
    await using directory = await testDirectory();
    assert.deepEqual(await checkDevices(definitionsIn([network('c')]), directory.path), []);
    await using _kubelet = await servePodResources(podResourcesSocket(directory.path), () => []);
    const findings = await checkDevices(definitions, directory.path);
    assert.deepEqual(
      findings.map(({ isFine }) => isFine),
      [true],
    );
  });
});
