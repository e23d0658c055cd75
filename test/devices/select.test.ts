import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parseResourceConfig } from '../../src/devices/config.ts';
import { withProfiles } from '../../src/devices/ddp.ts';
import { discover, type Hardware } from '../../src/devices/discover.ts';
import { select } from '../../src/devices/select.ts';
import { ena, type Pci, Sysfs, vfsOf, walkThrough } from './sysfs.ts';

/** What each resource gets, and why the others are left out. */
function outcome(resourceList: readonly object[], hardware: Hardware) {
  const { resources, problems } = parseResourceConfig(JSON.stringify({ resourceList }), 'config.json');
  assert.deepEqual(problems, []);
  const taken: Record<string, string[]> = {};
  const left: Record<string, string | undefined> = {};
  for (const { device, taken: by, why } of select(resources, hardware)) {
    if (by === undefined) left[device.id] = why;
    else taken[by.resource.fullName] = [...(taken[by.resource.fullName] ?? []), device.id];
  }
  return { taken, left };
}

describe('instances with ENA interfaces', () => {
  const defaultRoute = 'the default route leads through its interface ens5';
  for (const count of [1, 2, 3]) {
    test(`with ${count}: all but the one with the default route`, async () => {
      await using sysfs = await Sysfs.make(...ena.slice(0, count));
      const hardware = await discover({ root: sysfs.root, defaultInterfaces: ['ens5'] });
      const { taken, left } = outcome(walkThrough.resourceList, hardware);
      assert.deepEqual(taken['intel.com/aws_ena_vf'] ?? [], ['0000:00:06.0', '0000:00:07.0'].slice(0, count - 1));
      assert.deepEqual(left, { '0000:00:05.0': defaultRoute });
    });
  }

  test('the default route leads through what a bond, a VLAN on it and a bridge stand on, too', async () => {
    await using sysfs = await Sysfs.make(...ena);
    await sysfs.addVirtual('bond0', { lower: ['ens5', 'ens6'] });
    await sysfs.addVirtual('bond0.7', { lower: ['bond0'] });
    await sysfs.addVirtual('br0', { lower: ['bond0.7'] });
    const hardware = await discover({ root: sysfs.root, defaultInterfaces: ['br0'] });
    assert.deepEqual(outcome(walkThrough.resourceList, hardware).taken, { 'intel.com/aws_ena_vf': ['0000:00:07.0'] });
  });
});

/** Cards with and without VFs, of several makers, on two NUMA nodes. */
const intel: Pci = { address: '0000:3b:00.0', ids: '8086:1592', driver: 'ice', numa: 0, net: { ens1f0: {} } };
const plain: Pci = {
  address: '0000:3b:00.1',
  ids: '8086:1592',
  driver: 'ice',
  numa: 0,
  net: { ens1f1: {} },
  files: { sriov_totalvfs: '128\n', acpi_index: '3\n' },
};
const mellanox: Pci = {
  address: '0000:af:00.0',
  ids: '15b3:1017',
  driver: 'mlx5_core',
  numa: 1,
  rdma: 'mlx5_0',
  // In switchdev mode: what stands for a VF sorts before the card's own.
  net: { a0_vf0: { physPortName: 'pf0vf0' }, ens9np0: { physPortName: 'p0' } },
};
const infiniband: Pci = {
  address: '0000:b1:00.0',
  ids: '15b3:101b',
  driver: 'mlx5_core',
  numa: 1,
  rdma: 'mlx5_5',
  net: { ib0: { type: 32 } },
};
const [firstMellanox, ...otherMellanox] = vfsOf(mellanox, '15b3:1018', 'mlx5_core', 3);
const cards: readonly Pci[] = [
  intel,
  plain,
  ...vfsOf(intel, '8086:1889', 'iavf', 3),
  { ...firstMellanoxOf(), rdma: 'mlx5_1', vdpa: { name: 'vdpa0', driver: 'vhost_vdpa' } },
  ...otherMellanox.map((vf) => ({ ...vf, vdpa: { name: `vdpa${vf.vfOf?.[1]}`, driver: 'virtio_vdpa' } })),
  infiniband,
  { address: '0000:5e:00.0', ids: '8086:0d5c', class: '12', driver: 'vfio-pci', iommuGroup: 40 },
  { address: '0000:5f:00.0', ids: '8086:1889', numa: 0 },
  { address: '0000:01:00.0', ids: '144d:a808', class: '01', driver: 'nvme' },
];

function firstMellanoxOf(): Pci {
  assert.ok(firstMellanox);
  return firstMellanox;
}

const iavf = ['0000:3b:02.0', '0000:3b:02.1', '0000:3b:02.2'];
const mlx = ['0000:af:02.0', '0000:af:02.1', '0000:af:02.2'];
const netDevices = ['0000:3b:00.1', ...iavf, ...mlx, '0000:b1:00.0'];

describe('selectors', () => {
  let sysfs: Sysfs;
  let hardware: Hardware;

  before(async () => {
    sysfs = await Sysfs.make(mellanox, ...cards);
    await sysfs.addAuxiliary('0000:b1:00.0', 'mlx5_core.sf.4', 'ib0s88', { sfnum: '88\n' });
    await sysfs.addAuxiliary('0000:b1:00.0', 'mlx5_core.rdma.1');
    await sysfs.addMisc('vhost-net', 'tun', 'rdma_cm');
    hardware = await discover({ root: sysfs.root, defaultInterfaces: [] });
  });
  after(() => sysfs[Symbol.asyncDispose]());

  const cases: readonly [title: string, selectors: object | undefined, expected: readonly string[], type?: string][] = [
    ['none', undefined, netDevices],
    ['an empty one', {}, netDevices],
    ['empty lists', { vendors: [], drivers: [], pfNames: [] }, netDevices],
    ['vendors', { vendors: ['8086'] }, ['0000:3b:00.1', ...iavf]],
    ['vendors in another spelling', { Vendors: ['0x15B3'] }, [...mlx, '0000:b1:00.0']],
    ['devices', { devices: ['1889', '1018'] }, [...iavf, ...mlx]],
    ['drivers', { drivers: ['iavf'] }, iavf],
    ['pciAddresses', { pciAddresses: ['0000:3B:02.1', '0000:af:02.2'] }, ['0000:3b:02.1', '0000:af:02.2']],
    ['acpiIndexes', { acpiIndexes: ['3'] }, ['0000:3b:00.1']],
    ['pfNames: the VFs of one', { pfNames: ['ens1f0'] }, iavf],
    ['pfNames: a device that is no VF, by its own interface', { pfNames: ['ens1f1'] }, ['0000:3b:00.1']],
    ['pfNames: a card in switchdev mode', { pfNames: ['ens9np0'] }, mlx],
    ['pfNames: what stands for a VF is no physical function', { pfNames: ['a0_vf0'] }, []],
    ['pfNames: one number', { pfNames: ['ens1f0#1'] }, ['0000:3b:02.1']],
    ['pfNames: a range', { pfNames: ['ens1f0#1-7'] }, ['0000:3b:02.1', '0000:3b:02.2']],
    [
      'pfNames: ranges of two',
      { pfNames: ['ens1f0#0,2', 'ens9np0#2-2'] },
      ['0000:3b:02.0', '0000:3b:02.2', mlx[2] ?? ''],
    ],
    ['pfNames: one name twice', { pfNames: ['ens1f0#0', 'ens1f0#2'] }, ['0000:3b:02.0', '0000:3b:02.2']],
    ['pfNames: a number of a device that has no VFs', { pfNames: ['ens1f1#0'] }, []],
    ['rootDevices', { rootDevices: ['0000:AF:00.0#0-1'] }, ['0000:af:02.0', '0000:af:02.1']],
    ['linkTypes', { linkTypes: ['infiniband'] }, ['0000:b1:00.0']],
    ['linkTypes: ether', { linkTypes: ['ether'] }, netDevices.slice(0, -1)],
    ['pKeys', { pKeys: ['0xFFFF'] }, ['0000:b1:00.0']],
    ['ddpProfiles that no device has', { ddpProfiles: ['GTPv1-C/U IPv4/IPv6 payload'] }, []],
    ['isRdma', { isRdma: true }, ['0000:af:02.0', '0000:b1:00.0']],
    ['vdpaType vhost', { vdpaType: 'vhost' }, ['0000:af:02.0']],
    ['vdpaType virtio', { vdpaType: 'virtio' }, ['0000:af:02.1', '0000:af:02.2']],
    ['needVhostNet', { needVhostNet: true, drivers: ['iavf'] }, iavf],
    ['all of several must match', { vendors: ['15b3'], isRdma: true, pfNames: ['ens9np0#0-1'] }, ['0000:af:02.0']],
    [
      'any of a list of selectors',
      [{ drivers: ['iavf'], pfNames: ['ens1f0#0'] }, { pKeys: ['0xffff'] }],
      ['0000:3b:02.0', '0000:b1:00.0'],
    ],
    ['an accelerator', { vendors: ['8086'], drivers: ['vfio-pci'] }, ['0000:5e:00.0'], 'accelerator'],
    ['an auxiliary device, by type', { auxTypes: ['sf'] }, ['mlx5_core.sf.4'], 'auxNetDevice'],
    ['an auxiliary device, by number', { pfNames: ['ib0#80-90'] }, ['mlx5_core.sf.4'], 'auxNetDevice'],
  ];
  for (const [title, selectors, expected, deviceType = 'netDevice'] of cases) {
    test(title, () => {
      const { taken } = outcome([{ resourceName: 'r', deviceType, selectors }], hardware);
      assert.deepEqual(taken['intel.com/r'] ?? [], expected);
    });
  }

  test('a device goes to the first resource that selects it', () => {
    const { taken } = outcome(
      [
        { resourceName: 'one', selectors: { pfNames: ['ens1f0#0-1'] } },
        { resourceName: 'rest', resourcePrefix: 'example.org', selectors: { drivers: ['iavf', 'ice'] } },
      ],
      hardware,
    );
    assert.deepEqual(taken, {
      'intel.com/one': ['0000:3b:02.0', '0000:3b:02.1'],
      'example.org/rest': ['0000:3b:00.1', '0000:3b:02.2'],
    });
  });

  test('each device that is left out has its reason', () => {
    const { left } = outcome(
      [
        { resourceName: 'a', selectors: [{ pfNames: ['ens1f0#1-2'] }, { vendors: ['1d0f'] }] },
        { resourceName: 'b', selectors: { drivers: ['iavf'], isRdma: true } },
      ],
      hardware,
    );
    assert.deepEqual(
      [left['0000:3b:00.0'], left['0000:5f:00.0'], left['0000:5e:00.0'], left['0000:3b:02.0'], left['0000:3b:00.1']],
      [
        'it is the physical function of 3 VFs, which may be taken instead',
        'it has no driver',
        'no resource is of deviceType accelerator',
        'intel.com/a: it is VF 0 of ens1f0, not one of ens1f0#1-2; or its vendor is 8086, not 1d0f. intel.com/b: it has no RDMA device',
        'intel.com/a: its physical function is ens1f1, not ens1f0#1-2; or its vendor is 8086, not 1d0f. intel.com/b: its driver is ice, not iavf',
      ],
    );
    assert.equal('0000:01:00.0' in left, false);
  });

  test('a DDP profile is that of the physical function, and asked for once, where a selector wants to know', async () => {
    const entry = { resourceName: 'ddp', selectors: { ddpProfiles: ['GTP'], pfNames: ['ens1f0'] } };
    const asked: string[] = [];
    const profileOf = async (address: string) => {
      asked.push(address);
      return address === '0000:3b:00.0' ? 'GTP' : undefined;
    };
    const { resources } = parseResourceConfig(JSON.stringify({ resourceList: [entry] }), 'config.json');
    const known = await withProfiles(hardware, resources, profileOf);
    assert.deepEqual(outcome([entry], known).taken, { 'intel.com/ddp': iavf });
    assert.deepEqual(asked, [...new Set(asked)]);
    asked.length = 0;
    assert.equal(await withProfiles(hardware, [], profileOf), hardware);
    assert.deepEqual(asked, []);
  });

  test('what is to come with /dev/vhost-net is left out where the node has none', () => {
    const without = { ...hardware, hasVhostNet: false };
    const { left } = outcome([{ resourceName: 'v', selectors: { needVhostNet: true } }], without);
    assert.equal(
      left['0000:3b:02.0'],
      'intel.com/v: it is to come with /dev/vhost-net and /dev/net/tun, which the node lacks',
    );
  });

  test('NUMA nodes, drivers and interfaces are those of the device; a VF has the NUMA node of its physical function', () => {
    const about = Object.fromEntries(
      hardware.devices.map(({ id, numaNode, driver, interfaces }) => [id, [numaNode, driver, interfaces.join()]]),
    );
    assert.deepEqual(about['0000:3b:02.1'], [0, 'iavf', 'ens1f0v1']);
    assert.deepEqual(about['0000:af:02.1'], [1, 'mlx5_core', 'a0_vf0v1']);
    assert.deepEqual(about['0000:5e:00.0'], [undefined, 'vfio-pci', '']);
    assert.deepEqual(about['mlx5_core.sf.4'], [1, 'mlx5_core', 'ib0s88']);
  });
});
