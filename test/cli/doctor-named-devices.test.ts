import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkNamedDevices } from '../../src/cli/doctor/named-devices.ts';
import { networkConfigOf } from '../../src/cni/config.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { testDirectory } from '../support/directory.ts';

const used = (name: string, plugin: JsonObject) => ({
  name,
  list: networkConfigOf({ cniVersion: '1.0.0', name: 'net', ...plugin }, name),
});

test('PCI devices that networks name themselves are looked for', async () => {
  await using sysfs = await testDirectory();
  await mkdir(join(sysfs.path, 'bus/pci/devices/0000:00:06.0'), { recursive: true });
  const findings = await checkNamedDevices(
    [
      used('default/here', { type: 'host-device', pciBusID: '0000:00:06.0' }),
      used('default/moved', { type: 'host-device', pciBusID: '0000:00:07.0' }),
      used('default/vf', { type: 'sriov', deviceID: '0000:3b:02.1' }),
      used('default/resource', { type: 'sriov' }),
      used('default/other', { type: 'macvlan', deviceID: '0000:00:09.0' }),
    ],
    sysfs.path,
  );
  assert.deepEqual(
    findings.map(({ isFine, text }) => [isFine, text]),
    [
      [true, '0000:00:06.0 is there'],
      [false, 'default/moved: this node has no PCI device 0000:00:07.0'],
      [false, 'default/vf: failed to find the device: this node has no PCI device 0000:3b:02.1'],
    ],
  );
});
