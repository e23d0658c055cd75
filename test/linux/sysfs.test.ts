import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type Bus,
  deviceDirectory,
  deviceDirectoryAt,
  deviceOfInterface,
  driverOf,
  hasDevice,
  hasVirtualFunctions,
  interfacesOf,
  isDeviceName,
  isDevicePath,
  physicalFunctionOf,
  virtualFunctionOf,
} from '../../src/linux/sysfs.ts';

/** A node with a virtio interface, an ENA one, a physical function with a virtual one, and what hangs on them. */
const tree: readonly [device: string, bus: string, driver: string | undefined, interfaces: readonly string[]][] = [
  ['pci0000:00/0000:00:03.0', 'pci', 'virtio-pci', []],
  ['pci0000:00/0000:00:03.0/virtio2', 'virtio', 'virtio_net', ['eth0']],
  ['pci0000:00/0000:00:06.0', 'pci', 'ena', ['ens6']],
  ['pci0000:00/0000:00:1f.7/10000:3b:00.0', 'pci', 'mlx5_core', ['ens9np0', 'ens9np0r1']],
  ['pci0000:00/0000:00:1f.7/10000:3b:00.1', 'pci', 'vfio-pci', []],
  ['pci0000:00/0000:00:1f.7/10000:3b:00.2', 'pci', undefined, []],
  ['pci0000:00/0000:00:1f.7/10000:3b:00.3', 'pci', undefined, []],
  ['pci0000:00/0000:00:1f.7/10000:3b:00.0/mlx5_core.sf.2', 'auxiliary', 'mlx5_core.sf', ['sf2']],
  ['pci0000:00/0000:00:14.0/usb1/1-1', 'usb', 'cdc_ether', ['usb0']],
];

let root: string;

async function linkTo(from: string, to: string): Promise<void> {
  await mkdir(dirname(from), { recursive: true });
  await symlink(relative(dirname(from), to), from);
}

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'plx-sysfs-'));
  for (const [path, bus, driver, interfaces] of tree) {
    const device = join(root, 'devices', path);
    await mkdir(device, { recursive: true });
    await linkTo(join(root, 'bus', bus, 'devices', path.split('/').at(-1) ?? ''), device);
    await linkTo(join(device, 'subsystem'), join(root, 'bus', bus));
    if (driver !== undefined) await linkTo(join(device, 'driver'), join(root, 'bus', bus, 'drivers', driver));
    for (const name of interfaces) {
      await mkdir(join(device, 'net', name), { recursive: true });
      await linkTo(join(root, 'class', 'net', name), join(device, 'net', name));
      await linkTo(join(device, 'net', name, 'device'), device);
    }
  }
  await mkdir(join(root, 'devices', 'virtual', 'net', 'lo'), { recursive: true });
  await linkTo(join(root, 'class', 'net', 'lo'), join(root, 'devices', 'virtual', 'net', 'lo'));
  const slot = join(root, 'devices', 'pci0000:00/0000:00:1f.7');
  await linkTo(join(slot, '10000:3b:00.1', 'physfn'), join(slot, '10000:3b:00.0'));
  await linkTo(join(slot, '10000:3b:00.0', 'virtfn0'), join(slot, '10000:3b:00.1'));
  await linkTo(join(slot, '10000:3b:00.3', 'physfn'), join(slot, '10000:3b:00.0'));
  await linkTo(join(slot, '10000:3b:00.0', 'virtfn11'), join(slot, '10000:3b:00.3'));
});

after(() => rm(root, { recursive: true }));

test('an interface tells its device, the driver and the PCI address, on whatever bus it is', async () => {
  for (const [name, expected] of [
    ['eth0', { bus: 'virtio', name: 'virtio2', driver: 'virtio_net', pciAddress: '0000:00:03.0' }],
    ['ens6', { bus: 'pci', name: '0000:00:06.0', driver: 'ena', pciAddress: '0000:00:06.0' }],
    ['ens9np0', { bus: 'pci', name: '10000:3b:00.0', driver: 'mlx5_core', pciAddress: '10000:3b:00.0' }],
    ['sf2', { bus: 'auxiliary', name: 'mlx5_core.sf.2', driver: 'mlx5_core.sf', pciAddress: '10000:3b:00.0' }],
    ['usb0', { bus: 'usb', name: '1-1', driver: 'cdc_ether', pciAddress: '0000:00:14.0' }],
    ['lo', undefined],
    ['none', undefined],
  ] as const) {
    assert.deepEqual(await deviceOfInterface(name, root), expected, name);
  }
  for (const name of ['', '.', '..', '../../bus', 'a b', 'longer-than-15-ch', 'x\0']) {
    await assert.rejects(deviceOfInterface(name, root), /cannot be the name of an interface/);
  }
});

test('a device tells its interfaces, those of virtio below it too; one without, or that is not there, none', async () => {
  for (const [bus, name, interfaces] of [
    ['pci', '0000:00:03.0', ['eth0']],
    ['pci', '0000:00:06.0', ['ens6']],
    ['pci', '10000:3B:00.0', ['ens9np0', 'ens9np0r1']],
    ['pci', '10000:3b:00.1', []],
    ['pci', '0000:00:09.0', []],
    ['auxiliary', 'mlx5_core.sf.2', ['sf2']],
  ] as const) {
    assert.deepEqual(await interfacesOf(deviceDirectory(bus, name, root)), interfaces, name);
  }
  const path = '/sys/devices/pci0000:00/0000:00:06.0';
  assert.deepEqual(await interfacesOf(deviceDirectoryAt(path, root)), ['ens6']);
  assert.deepEqual(await interfacesOf(deviceDirectoryAt(`${path}/net/ens6/nothing`, root)), []);
});

test('a device is there or not, has a driver or none', async () => {
  for (const [bus, name, there, driver] of [
    ['pci', '0000:00:06.0', true, 'ena'],
    ['pci', '10000:3b:00.1', true, 'vfio-pci'],
    ['pci', '10000:3b:00.2', true, undefined],
    ['pci', '0000:00:09.0', false, undefined],
    ['auxiliary', 'mlx5_core.sf.2', true, 'mlx5_core.sf'],
    ['auxiliary', 'mlx5_core.sf.3', false, undefined],
  ] as const) {
    assert.equal(await hasDevice(bus, name, root), there, name);
    assert.equal(await driverOf(bus, name, root), driver, name);
  }
});

test('a virtual function tells its physical function, and nobody else one', async () => {
  assert.equal(await physicalFunctionOf('10000:3b:00.1', root), '10000:3b:00.0');
  assert.equal(await physicalFunctionOf('10000:3b:00.0', root), undefined);
  assert.equal(await physicalFunctionOf('0000:00:09.0', root), undefined);
});

test('a physical function tells whether it has virtual ones', async () => {
  assert.equal(await hasVirtualFunctions('10000:3b:00.0', root), true);
  for (const name of ['10000:3b:00.1', '0000:00:06.0', '0000:00:09.0']) {
    assert.equal(await hasVirtualFunctions(name, root), false, name);
  }
});

test('a virtual function tells its number there, and nobody else one', async () => {
  assert.deepEqual(await virtualFunctionOf('10000:3B:00.1', root), { physicalFunction: '10000:3b:00.0', number: 0 });
  assert.deepEqual(await virtualFunctionOf('10000:3b:00.3', root), { physicalFunction: '10000:3b:00.0', number: 11 });
  for (const name of ['10000:3b:00.0', '10000:3b:00.2', '0000:00:09.0']) {
    assert.equal(await virtualFunctionOf(name, root), undefined, name);
  }
});

const names: readonly [bus: Bus, text: string, valid: boolean][] = [
  ['pci', '0000:00:06.0', true],
  ['pci', '0000:AF:1F.7', true],
  ['pci', '10000:e1:00.0', true],
  ['pci', '00:06.0', false],
  ['pci', '0000:00:20.0', false],
  ['pci', '0000:00:06.8', false],
  ['pci', '0000:00:06', false],
  ['pci', '0000:00:06.0/..', false],
  ['pci', '0000:00:06.0\n', false],
  ['pci', '', false],
  ['auxiliary', 'mlx5_core.sf.2', true],
  ['auxiliary', 'ice.sf.10', true],
  ['auxiliary', 'mlx5_core.sf', false],
  ['auxiliary', 'mlx5_core..2', false],
  ['auxiliary', '../x.sf.2', false],
  ['auxiliary', 'mlx5_core.sf.2/', false],
  ['auxiliary', 'mlx5_core.sf.2\n', false],
];

for (const [bus, text, valid] of names) {
  test(`${JSON.stringify(text)} ${valid ? 'can' : 'cannot'} be the name of a device on the ${bus} bus`, async () => {
    assert.equal(isDeviceName(bus, text), valid);
    if (!valid) assert.throws(() => deviceDirectory(bus, text, root), /is no name of a device/);
  });
}

test('a path of a device stays below /sys/devices', () => {
  for (const path of ['/sys/devices/pci0000:00/0000:00:06.0', '/sys/devices/virtual/net/br0.100/', '/sys/devices/a']) {
    assert.ok(isDevicePath(path), path);
  }
  for (const path of [
    '',
    '/sys/devices',
    '/sys/devices/',
    '/sys/class/net/eth0',
    'sys/devices/a',
    '/sys/devices/../class',
    '/sys/devices/a/../../b',
    '/sys/devices/a/./b',
    '/sys/devices//a',
    '/sys/devices/a\n',
    `/sys/devices${'/a'.repeat(33)}`,
  ]) {
    assert.ok(!isDevicePath(path), path);
    assert.throws(() => deviceDirectoryAt(path, root), /is no path of a device/);
  }
});

test("this machine's own interfaces and devices agree with one another", async () => {
  for (const name of await readdir('/sys/class/net')) {
    const device = await deviceOfInterface(name);
    if (device?.pciAddress === undefined) continue;
    assert.ok(await hasDevice('pci', device.pciAddress));
    if (device.bus !== 'pci' && device.bus !== 'virtio') continue;
    const interfaces = await interfacesOf(deviceDirectory('pci', device.pciAddress));
    assert.ok(interfaces.includes(name), `${name}: ${interfaces}`);
  }
  assert.equal(await deviceOfInterface('lo'), undefined);
});
