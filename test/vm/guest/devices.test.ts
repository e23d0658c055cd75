import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { lookAtDevices } from '../../../src/cli/devices/look.ts';
import { NodeDevices } from '../../../src/devices/device-plugin.ts';
import { Kubelet } from '../../devices/kubelet.ts';
import { testDirectory } from '../../support/directory.ts';

const run = promisify(execFile);

/* SR-IOV hardware, as QEMU emulates it: the second igb card of the VM, with up to seven VFs. */

const pf = '0000:02:00.0';
const directory = `/sys/bus/pci/devices/${pf}`;
const resource = 'intel.com/igb_vf';

/** Milliseconds between looks, and looks at most, at what the kernel does by itself. */
const interval = 100;
const maxLooks = 300;

async function setVfs(count: number): Promise<string[]> {
  await writeFile(join(directory, 'sriov_numvfs'), `${count}`);
  const names = (await readdir(directory)).filter((name) => name.startsWith('virtfn'));
  assert.equal(names.length, count);
  // A VF's driver makes its interface in its own time.
  for (let looks = 0; ; looks++) {
    const found = await Promise.all(names.map((name) => readdir(join(directory, name, 'net')).catch(() => [])));
    if (found.every(([name]) => name !== undefined)) break;
    assert.ok(looks < maxLooks, 'the VFs get no interface');
    await sleep(interval);
  }
  return names;
}

describe('the virtual functions of an igb card', () => {
  before(() => run('modprobe', ['-a', 'igb', 'igbvf']));

  test('are offered, the physical function is not, and what happens to one is told', async () => {
    await using directories = await testDirectory();
    const at = (name: string): string => join(directories.path, name);
    const selectors = { rootDevices: [pf] };
    await writeFile(at('config.json'), JSON.stringify({ resourceList: [{ resourceName: 'igb_vf', selectors }] }));
    const problems: string[] = [];
    const log = { info: () => {}, warn: () => {}, error: (about: object) => problems.push(JSON.stringify(about)) };
    await using kubelet = await Kubelet.start(at('kubelet'));
    await using _devices = await NodeDevices.start({
      configFile: at('config.json'),
      prefix: 'intel.com',
      kubeletDir: at('kubelet'),
      deviceInfoDir: at('devinfo'),
      memoryFile: at('devices.json'),
      log,
    });
    await kubelet.sees(resource, [`${pf} Healthy`]);

    const vfs = await setVfs(7);
    const { candidates } = await lookAtDevices({
      devicePluginConfig: at('config.json'),
      devicePluginPrefix: 'intel.com',
      stateDir: directories.path,
    });
    const taken = candidates.filter((each) => each.taken !== undefined).map(({ device }) => device);
    assert.equal(taken.length, vfs.length);
    assert.deepEqual(
      taken.map(({ vendor, device, driver, index, linkType, isVf }) => [vendor, device, driver, index, linkType, isVf]),
      vfs.map((_, index) => ['8086', '10ca', 'igbvf', index, 'ether', true]),
    );
    const ids = taken.map(({ id }) => id);
    assert.equal(
      candidates.find(({ device }) => device.id === pf)?.why,
      'it is the physical function of 7 VFs, which may be taken instead',
    );
    const healthy = ids.map((id) => `${id} Healthy`);
    await kubelet.sees(resource, healthy);
    const [first = '', ...others] = ids;
    const [given] = (await kubelet.allocate(resource, first)).containerResponses;
    assert.equal(given?.envs['PCIDEVICE_INTEL_COM_IGB_VF'], first);

    await writeFile('/sys/bus/pci/drivers/igbvf/unbind', first);
    await kubelet.sees(resource, [`${first} Unhealthy`, ...healthy.slice(1)]);
    await assert.rejects(kubelet.allocate(resource, first), /it has no driver/);
    await writeFile('/sys/bus/pci/drivers/igbvf/bind', first);
    await kubelet.sees(resource, healthy);

    await setVfs(0);
    await kubelet.sees(resource, [`${pf} Healthy`, ...ids.map((id) => `${id} Unhealthy`)].sort());
    await setVfs(2);
    await kubelet.sees(resource, [...healthy.slice(0, 2), ...others.slice(1).map((id) => `${id} Unhealthy`)]);
    assert.deepEqual(problems, []);
    await setVfs(0);
  });
});
