import type { JsonObject } from '../../../src/cni/json.ts';
import { type ParityCase, type Refusal, refusals } from '../case.ts';

/* Devices by their place in sysfs, which is made for each case. */

const plugin = 'host-device';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };

const card = '0000:00:06.0';
const pci = `bus/pci/devices/${card}`;
const path = `devices/pci0000:00/${card}`;
const subfunction = 'bus/auxiliary/devices/mlx5_core.sf.2';

/** A device on a bus, with the driver that it is bound to. */
const bound = (device: string, driver: string): Readonly<Record<string, string>> => ({
  [`bus/pci/drivers/${driver}`]: '',
  [`${device}/driver`]: `../../drivers/${driver}`,
});

const card5 = { ...bound(pci, 'ena'), [`${pci}/net/ens5`]: '' };

interface Found {
  readonly tries: string;
  readonly keys: JsonObject;
  readonly sys: Readonly<Record<string, string>>;
}

const found: readonly Found[] = [
  { tries: 'a PCI address', keys: { pciBusID: card, ipam }, sys: card5 },
  {
    tries: 'a PCI address of a virtio device',
    keys: { pciBusID: card },
    sys: { ...bound(pci, 'virtio-pci'), [`${pci}/virtio3/net/ens5`]: '' },
  },
  {
    tries: "the device plugin's choice before a PCI address",
    keys: { pciBusID: '0000:00:07.0', runtimeConfig: { deviceID: card }, ipam },
    sys: card5,
  },
  { tries: 'a kernelpath', keys: { kernelpath: `/sys/${path}`, ipam }, sys: { [`${path}/net/ens5`]: '' } },
  {
    tries: 'a kernelpath before a PCI address',
    keys: { kernelpath: `/sys/${path}`, pciBusID: card },
    sys: { [`${path}/net/ens5`]: '', ...bound(pci, 'ena'), [`${pci}/net/ens5p`]: '' },
  },
  {
    tries: 'a hardware address before a kernelpath',
    keys: { hwaddr: '02:00:00:00:05:01', kernelpath: `/sys/${path}` },
    sys: { [`${path}/net/ens5p`]: '' },
  },
  {
    tries: 'an auxiliary device',
    keys: { runtimeConfig: { deviceID: 'mlx5_core.sf.2' }, ipam },
    sys: { [`${subfunction}/net/ens5`]: '' },
  },
];

const userspace: readonly Found[] = ['vfio-pci', 'uio_pci_generic', 'igb_uio'].map((driver) => ({
  tries: `a device that ${driver} drives`,
  keys: { pciBusID: card, ipam },
  sys: bound(pci, driver),
}));

const refused: readonly (Refusal & Pick<ParityCase, 'sys'>)[] = [
  {
    tries: 'a PCI device without an interface',
    differences: ['device-del-again', 'no-empty-directory'],
    keys: { pciBusID: card },
    sys: bound(pci, 'ena'),
    error: /0000:00:06.0/,
  },
  {
    tries: 'an auxiliary device that does not exist',
    differences: ['del-broken-configuration'],
    keys: { runtimeConfig: { deviceID: 'mlx5_core.sf.3' } },
    sys: { [`${subfunction}/net/ens5`]: '' },
    error: /mlx5_core.sf.3/,
  },
  {
    tries: 'an auxiliary device without an interface',
    differences: ['device-del-again', 'no-empty-directory'],
    keys: { runtimeConfig: { deviceID: 'mlx5_core.sf.2' } },
    sys: { [subfunction]: '' },
    error: /mlx5_core.sf.2/,
  },
  {
    tries: 'a PCI address that is none',
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: { pciBusID: '../../drivers/ena' },
    sys: card5,
    error: /\/drivers/,
  },
  {
    tries: "a device plugin's choice that is none",
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: { runtimeConfig: { deviceID: '/etc' } },
    sys: card5,
    error: /\/etc/,
  },
  {
    tries: 'a kernelpath that leads out of /sys/devices',
    differences: ['configuration-code', 'device-del-again', 'no-empty-directory'],
    keys: { kernelpath: '/sys/devices/../../etc' },
    sys: card5,
    error: /etc/,
  },
  {
    tries: 'an interface that sysfs names and the node does not have',
    differences: ['device-del-again', 'no-empty-directory'],
    keys: { pciBusID: card },
    sys: { ...bound(pci, 'ena'), [`${pci}/net/ens9`]: '' },
    error: /host device/,
  },
];

export const hostDeviceSysfsCases: readonly ParityCase[] = [
  ...found.map(
    ({ tries, keys, sys }): ParityCase => ({ plugin, tries, config: keys, sys, differences: ['device-del-again'] }),
  ),
  ...userspace.map(({ tries, keys, sys }): ParityCase => ({ plugin, tries, config: keys, sys })),
  {
    plugin,
    tries: 'a device that vfio-pci drives, without addresses',
    config: { pciBusID: card },
    sys: bound(pci, 'vfio-pci'),
  },
  ...refusals(plugin, { ipam }, refused).map((each, index) => {
    const { sys } = refused[index] ?? {};
    return { ...each, ...(sys !== undefined && { sys }) };
  }),
];
