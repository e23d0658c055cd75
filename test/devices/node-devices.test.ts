import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { readDeviceInfo } from '../../src/attach/device-info.ts';
import { type DevicePluginOptions, NodeDevices } from '../../src/devices/device-plugin.ts';
import { pluginDirectory } from '../../src/devices/node.ts';
import { DevicePlugin } from '../../src/kubelet/device-plugin_pb.ts';
import { until } from '../kubernetes/playground.ts';
import { testDirectory } from '../support/directory.ts';
import { Kubelet } from './kubelet.ts';
import { ena, type Pci, Sysfs, vfsOf, walkThrough } from './sysfs.ts';

/** A node with a kubelet: a sysfs, directories, and what is logged there. */
async function makeNode(devices: readonly Pci[], config: object = walkThrough, carriers: readonly string[] = ['ens5']) {
  const stack = new AsyncDisposableStack();
  const sysfs = stack.use(await Sysfs.make(...devices));
  const { path } = stack.use(await testDirectory());
  const at = (name: string): string => join(path, name);
  const logged: string[] = [];
  const log = (about: object, text: string): void => {
    const plain = JSON.stringify(about, (_, value) => (value instanceof Error ? value.message : value));
    logged.push(`${text} ${plain}`);
  };
  const options: DevicePluginOptions = {
    configFile: at('config.json'),
    prefix: 'intel.com',
    kubeletDir: at('kubelet'),
    deviceInfoDir: at('devinfo'),
    memoryFile: at('devices.json'),
    log: { info: log, warn: log, error: log },
    root: sysfs.root,
    defaultInterfaces: async () => carriers,
    interval: 20,
  };
  const configure = (json: unknown) =>
    writeFile(options.configFile, typeof json === 'string' ? json : JSON.stringify(json));
  await configure(config);
  return { sysfs, options, configure, logged, at, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const aws = 'intel.com/aws_ena_vf';
const bothHealthy = ['0000:00:06.0 Healthy 0', '0000:00:07.0 Healthy 0'];

describe('kubelet', () => {
  test("is offered two of the walk-through's three interfaces, and may ask for a preference", async () => {
    await using node = await makeNode(ena);
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    await using devices = await NodeDevices.start(node.options);
    await kubelet.sees(aws, bothHealthy);
    const [registration, ...others] = kubelet.registrations;
    assert.deepEqual(others, []);
    assert.deepEqual(
      [registration?.version, registration?.endpoint, registration?.options?.getPreferredAllocationAvailable],
      ['v1beta1', 'intel.com_aws_ena_vf.sock', true],
    );
    const { getDevicePluginOptions, getPreferredAllocation } = DevicePlugin.method;
    const channel = kubelet.channel(aws);
    assert.equal((await channel.call(getDevicePluginOptions, {})).getPreferredAllocationAvailable, true);
    const { containerResponses } = await channel.call(getPreferredAllocation, {
      containerRequests: [{ availableDeviceIds: ['0000:00:07.0', '0000:00:06.0'], allocationSize: 1 }],
    });
    assert.deepEqual(
      containerResponses.map(({ deviceIds }) => deviceIds),
      [['0000:00:06.0']],
    );
    assert.deepEqual(devices.counts(), [
      { resource: aws, health: 'Healthy', count: 2 },
      { resource: aws, health: 'Unhealthy', count: 0 },
    ]);
  });

  test('gets environment and files for the devices that it gives, and an error for others', async () => {
    await using node = await makeNode(
      [{ address: '0000:5e:00.0', ids: '8086:1889', driver: 'vfio-pci', iommuGroup: 40, numa: 1 }],
      { resourceList: [{ resourceName: 'dpdk', excludeTopology: true }] },
    );
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    const counted: string[] = [];
    const allocated = (resource: string, isGiven: boolean): void => {
      counted.push(`${resource} ${isGiven}`);
    };
    await using _devices = await NodeDevices.start({ ...node.options, allocated });
    await kubelet.sees('intel.com/dpdk', ['0000:5e:00.0 Healthy']);
    const { containerResponses } = await kubelet.allocate('intel.com/dpdk', '0000:5e:00.0');
    const [given] = containerResponses;
    assert.deepEqual(
      given?.devices.map(({ hostPath, containerPath, permissions }) => [hostPath, containerPath, permissions]),
      [
        ['/dev/vfio/vfio', '/dev/vfio/vfio', 'rw'],
        ['/dev/vfio/40', '/dev/vfio/40', 'rw'],
      ],
    );
    assert.deepEqual(given.cdiDevices, []);
    assert.equal(given.envs['PCIDEVICE_INTEL_COM_DPDK'], '0000:5e:00.0');
    assert.match(given.envs['PCIDEVICE_INTEL_COM_DPDK_INFO'] ?? '', /"dev-mount":"\/dev\/vfio\/40"/);

    await assert.rejects(kubelet.allocate('intel.com/dpdk', '0000:5e:00.9'), {
      details: 'intel.com/dpdk has no device 0000:5e:00.9',
    });
    await node.sysfs.unbind('0000:5e:00.0', 'vfio-pci');
    await kubelet.sees('intel.com/dpdk', ['0000:5e:00.0 Unhealthy']);
    await assert.rejects(kubelet.allocate('intel.com/dpdk', '0000:5e:00.0'), {
      details: 'device 0000:5e:00.0 of intel.com/dpdk cannot be used: it has no driver',
    });
    assert.deepEqual(counted, ['intel.com/dpdk true', 'intel.com/dpdk false', 'intel.com/dpdk false']);
  });

  test('that starts anew has the resources registered again', async () => {
    await using node = await makeNode(ena);
    const first = await Kubelet.start(node.options.kubeletDir);
    await using _devices = await NodeDevices.start(node.options);
    await first.sees(aws, bothHealthy);
    await first[Symbol.asyncDispose]();
    await using second = await Kubelet.start(node.options.kubeletDir);
    await second.sees(aws, bothHealthy);
    assert.equal(second.registrations.length, 1);
  });

  test('that is not there yet is told of in the log, once, and waited for', async () => {
    await using node = await makeNode(ena);
    await using _devices = await NodeDevices.start(node.options);
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    await kubelet.sees(aws, bothHealthy);
    assert.equal(node.logged.filter((line) => line.includes('kubelet has no socket')).length, 1);
  });

  test('gets a socket again where somebody removed it', async () => {
    await using node = await makeNode(ena);
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    await using _devices = await NodeDevices.start(node.options);
    await kubelet.sees(aws, bothHealthy);
    await rm(join(pluginDirectory(node.options.kubeletDir), 'intel.com_aws_ena_vf.sock'));
    await kubelet.sees(aws, undefined);
    await kubelet.sees(aws, bothHealthy);
    assert.equal(kubelet.registrations.length, 2);
  });

  test('sees no device any more after the end, and no file is left', async () => {
    await using node = await makeNode(ena);
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    const devices = await NodeDevices.start(node.options);
    await kubelet.sees(aws, bothHealthy);
    assert.equal((await readdir(join(node.options.deviceInfoDir, 'dp'))).length, 2);
    await devices[Symbol.asyncDispose]();
    await kubelet.sees(aws, undefined);
    assert.deepEqual(await readdir(join(node.options.deviceInfoDir, 'dp')), []);
    assert.deepEqual(await readdir(pluginDirectory(node.options.kubeletDir)), ['kubelet.sock']);
  });
});

describe('what changes on the node', () => {
  const pf: Pci = { address: '0000:3b:00.0', ids: '8086:10c9', driver: 'igb', net: { ens1: {} } };
  const [vf0, vf1, vf2] = vfsOf(pf, '8086:10ca', 'igbvf', 3);
  const config = { resourceList: [{ resourceName: 'vf', selectors: { drivers: ['igbvf'] } }] };
  const resource = 'intel.com/vf';

  test('VFs that are made, unplugged or without a driver are told, and those that are well have device information', async () => {
    assert.ok(vf0 && vf1 && vf2);
    await using node = await makeNode([pf, vf0], config, []);
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    await using _devices = await NodeDevices.start(node.options);
    const healths = (...words: readonly string[]) => words.map((health, index) => `0000:3b:02.${index} ${health}`);
    await kubelet.sees(resource, healths('Healthy'));
    await node.sysfs.add(vf1);
    await kubelet.sees(resource, healths('Healthy', 'Healthy'));
    await node.sysfs.add(vf2);
    await kubelet.sees(resource, healths('Healthy', 'Healthy', 'Healthy'));
    await node.sysfs.remove(vf2.address, { pf: pf.address, index: 2, driver: 'igbvf' });
    await kubelet.sees(resource, healths('Healthy', 'Healthy', 'Unhealthy'));
    await node.sysfs.unbind(vf0.address, 'igbvf');
    await kubelet.sees(resource, healths('Unhealthy', 'Healthy', 'Unhealthy'));
    assert.deepEqual(await readdir(join(node.options.deviceInfoDir, 'dp')), ['intel.com-vf-0000:3b:02.1-device.json']);
    await node.sysfs.bind(vf0.address, 'igbvf');
    await kubelet.sees(resource, healths('Healthy', 'Healthy', 'Unhealthy'));
    assert.ok(node.logged.some((line) => line.includes('"faulty":["0000:3b:02.2: it is gone"]')));
  });

  test('a device whose interface a pod has stays what it is, after a start of the daemon as well', async () => {
    const selectors = { pfNames: ['ens6'], linkTypes: ['ether'] };
    await using node = await makeNode(ena, { resourceList: [{ resourceName: 'named', selectors }] });
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    const healthy = ['0000:00:06.0 Healthy 0'];
    {
      await using _devices = await NodeDevices.start(node.options);
      await kubelet.sees('intel.com/named', healthy);
      await node.sysfs.hide('0000:00:06.0', 'ens6');
      await node.sysfs.addVirtual('dummy0');
      await kubelet.allocate('intel.com/named', '0000:00:06.0');
    }
    await kubelet.sees('intel.com/named', undefined);
    await using _again = await NodeDevices.start(node.options);
    await kubelet.sees('intel.com/named', healthy);
  });

  test('a configuration that changes is followed; one that is malformed changes nothing and is told of', async () => {
    await using node = await makeNode(ena);
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    await using _devices = await NodeDevices.start(node.options);
    await kubelet.sees(aws, bothHealthy);
    const one = { resourceName: 'one', selectors: { pciAddresses: ['0000:00:07.0'] } };
    await node.configure({ resourceList: [one, { resourceName: 'a-b' }, ...walkThrough.resourceList], more: 1 });
    await kubelet.sees('intel.com/one', ['0000:00:07.0 Healthy 0']);
    await kubelet.sees(aws, ['0000:00:06.0 Healthy 0']);
    assert.ok(node.logged.some((line) => /left out .*resourceList\[1\]: resourceName: expected a name of/.test(line)));

    await node.configure('{');
    await until(() => node.logged.some((line) => /config\.json: .*line 1/.test(line)));
    await node.sysfs.unbind('0000:00:06.0', 'ena');
    await kubelet.sees(aws, ['0000:00:06.0 Unhealthy 0']);
    await node.configure({ resourceList: [one] });
    await kubelet.sees(aws, undefined);
    await kubelet.sees('intel.com/one', ['0000:00:07.0 Healthy 0']);
    const files = await readdir(join(node.options.deviceInfoDir, 'dp'));
    assert.deepEqual(files, ['intel.com-one-0000:00:07.0-device.json']);
  });

  test('device information is what the specification says, and that of a dead daemon is corrected', async () => {
    const vdpa = { name: 'vdpa0', driver: 'vhost_vdpa' };
    await using node = await makeNode(
      [
        { address: '0000:af:00.0', ids: '15b3:1017', driver: 'mlx5_core', rdma: 'mlx5_3' },
        { address: '0000:af:00.1', ids: '15b3:1018', driver: 'mlx5_core', vdpa },
      ],
      {
        resourceList: [
          { resourceName: 'rdma', selectors: { isRdma: true } },
          { resourceName: 'vdpa', selectors: { vdpaType: 'vhost' } },
        ],
      },
    );
    const dp = (name: string): string => join(node.options.deviceInfoDir, 'dp', name);
    {
      await using _devices = await NodeDevices.start(node.options);
      assert.deepEqual(await readDeviceInfo(dp('intel.com-rdma-0000:af:00.0-device.json')), {
        type: 'pci',
        version: '1.1.0',
        pci: { 'pci-address': '0000:af:00.0', 'rdma-device': 'mlx5_3' },
      });
      assert.deepEqual(await readDeviceInfo(dp('intel.com-vdpa-0000:af:00.1-device.json')), {
        type: 'vdpa',
        version: '1.1.0',
        vdpa: { 'parent-device': 'vdpa0', driver: 'vhost', path: '/dev/vhost-vdpa-0', 'pci-address': '0000:af:00.1' },
      });
    }
    await writeFile(dp('intel.com-rdma-0000:ff:00.0-device.json'), '{}');
    await writeFile(dp('example.org-rdma-0000:ff:00.0-device.json'), '{}');
    await using _devices = await NodeDevices.start(node.options);
    assert.deepEqual((await readdir(dp(''))).sort(), [
      'example.org-rdma-0000:ff:00.0-device.json',
      'intel.com-rdma-0000:af:00.0-device.json',
      'intel.com-vdpa-0000:af:00.1-device.json',
    ]);
  });

  test('with CDI, containers get the names of devices, and runtimes a specification of them', async () => {
    const vfio: Pci = { address: '0000:5e:00.0', ids: '8086:1889', driver: 'vfio-pci', iommuGroup: 40 };
    await using node = await makeNode([...ena, vfio], {
      resourceList: [{ resourceName: 'dpdk', selectors: { drivers: ['vfio-pci'] } }, ...walkThrough.resourceList],
    });
    await using kubelet = await Kubelet.start(node.options.kubeletDir);
    {
      await using _devices = await NodeDevices.start({ ...node.options, cdiDir: node.at('cdi') });
      await kubelet.sees('intel.com/dpdk', ['0000:5e:00.0 Healthy']);
      const [given] = (await kubelet.allocate('intel.com/dpdk', '0000:5e:00.0')).containerResponses;
      assert.deepEqual(given?.devices, []);
      assert.deepEqual(
        given.cdiDevices.map(({ name }) => name),
        ['intel.com/net-dpdk=0000:5e:00.0'],
      );
      await kubelet.sees(aws, bothHealthy);
      const [plain] = (await kubelet.allocate(aws, '0000:00:06.0')).containerResponses;
      assert.deepEqual(plain?.cdiDevices, []);
      assert.deepEqual(await readdir(node.at('cdi')), ['plexus-intel.com-dpdk.json']);
      assert.deepEqual(JSON.parse(await readFile(node.at('cdi/plexus-intel.com-dpdk.json'), 'utf8')), {
        cdiVersion: '0.5.0',
        kind: 'intel.com/net-dpdk',
        devices: [
          {
            name: '0000:5e:00.0',
            containerEdits: {
              deviceNodes: [
                { path: '/dev/vfio/vfio', hostPath: '/dev/vfio/vfio', permissions: 'rw' },
                { path: '/dev/vfio/40', hostPath: '/dev/vfio/40', permissions: 'rw' },
              ],
            },
          },
        ],
      });
    }
    await node.configure(walkThrough);
    await using _devices = await NodeDevices.start({ ...node.options, cdiDir: node.at('cdi') });
    assert.deepEqual(await readdir(node.at('cdi')), []);
  });
});
