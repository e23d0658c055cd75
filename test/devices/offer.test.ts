import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { containerDevices } from '../../src/devices/allocation.ts';
import { parseResourceConfig, type Resource } from '../../src/devices/config.ts';
import { discover } from '../../src/devices/discover.ts';
import { forgetAfter, nextOffer, type Offer } from '../../src/devices/offer.ts';
import { preferred } from '../../src/devices/preferred.ts';
import { select } from '../../src/devices/select.ts';
import { type Pci, Sysfs, vfsOf } from './sysfs.ts';

const pf: Pci = { address: '0000:3b:00.0', ids: '8086:10c9', driver: 'igb', net: { ens1: {} } };

function resourcesOf(...resourceList: readonly object[]): readonly Resource[] {
  const { resources, problems } = parseResourceConfig(JSON.stringify({ resourceList }), 'config.json');
  assert.deepEqual(problems, []);
  return resources;
}

function only<T>(list: readonly T[]): T {
  const [first, ...others] = list;
  assert.ok(first !== undefined && others.length === 0);
  return first;
}

/** An offer in few words. */
const seen = (offer: Offer) => Object.fromEntries([...offer].map(([id, { fault }]) => [id, fault ?? 'healthy']));

async function offerOf(sysfs: Sysfs, resources: readonly Resource[], resource: Resource, previous: Offer, now = 0) {
  const hardware = await discover({ root: sysfs.root, defaultInterfaces: [] });
  return nextOffer(resource, select(resources, hardware), previous, now);
}

describe('what is offered follows the devices', () => {
  const [first = '', second = ''] = vfsOf(pf, '8086:10ca', 'igbvf', 2).map(({ address }) => address);

  test('a VF that loses its driver is faulty until it has one again', async () => {
    await using sysfs = await Sysfs.make(pf, ...vfsOf(pf, '8086:10ca', 'igbvf', 2));
    const resources = resourcesOf({ resourceName: 'vf', selectors: { drivers: ['igbvf'] } });
    const resource = only(resources);
    const whole = await offerOf(sysfs, resources, resource, new Map());
    assert.deepEqual(seen(whole), { [first]: 'healthy', [second]: 'healthy' });
    await sysfs.unbind(first, 'igbvf');
    const faulty = await offerOf(sysfs, resources, resource, whole);
    assert.deepEqual(seen(faulty), { [first]: 'it has no driver', [second]: 'healthy' });
    await sysfs.bind(first, 'igbvf');
    assert.deepEqual(seen(await offerOf(sysfs, resources, resource, faulty)), seen(whole));
  });

  test('one with another driver is faulty, or goes to the resource that selects it so', async () => {
    await using sysfs = await Sysfs.make(pf, ...vfsOf(pf, '8086:10ca', 'igbvf', 2));
    const kernel = { resourceName: 'vf', selectors: { drivers: ['igbvf'] } };
    const both = resourcesOf(kernel, { resourceName: 'dpdk', selectors: { drivers: ['vfio-pci'] } });
    const alone = only(resourcesOf(kernel));
    const whole = await offerOf(sysfs, [alone], alone, new Map());
    await sysfs.unbind(first, 'igbvf');
    await sysfs.bind(first, 'vfio-pci');
    assert.deepEqual(seen(await offerOf(sysfs, [alone], alone, whole)), {
      [first]: 'intel.com/vf: its driver is vfio-pci, not igbvf',
      [second]: 'healthy',
    });
    assert.deepEqual(seen(await offerOf(sysfs, both, alone, whole)), { [second]: 'healthy' });
  });

  test('one that is gone is faulty, and forgotten after five minutes', async () => {
    await using sysfs = await Sysfs.make(pf, ...vfsOf(pf, '8086:10ca', 'igbvf', 2));
    const resources = resourcesOf({ resourceName: 'vf', selectors: { drivers: ['igbvf'] } });
    const resource = only(resources);
    const whole = await offerOf(sysfs, resources, resource, new Map());
    await sysfs.remove(second, { pf: pf.address, index: 1, driver: 'igbvf' });
    const faulty = await offerOf(sysfs, resources, resource, whole, 1_000);
    assert.deepEqual(seen(faulty), { [first]: 'healthy', [second]: 'it is gone' });
    const still = await offerOf(sysfs, resources, resource, faulty, 1_000 + forgetAfter - 1);
    assert.deepEqual(seen(still), seen(faulty));
    assert.deepEqual(seen(await offerOf(sysfs, resources, resource, still, 1_000 + forgetAfter)), {
      [first]: 'healthy',
    });
  });

  test('a physical function is no longer offered when it gets VFs, and is again when they go', async () => {
    await using sysfs = await Sysfs.make(pf);
    const resources = resourcesOf({ resourceName: 'card', selectors: { vendors: ['8086'] } });
    const resource = only(resources);
    const alone = await offerOf(sysfs, resources, resource, new Map());
    assert.deepEqual(seen(alone), { [pf.address]: 'healthy' });
    const [vf] = vfsOf(pf, '8086:10ca', 'igbvf', 1);
    assert.ok(vf);
    await sysfs.add(vf);
    const vfs = await offerOf(sysfs, resources, resource, alone);
    assert.deepEqual(seen(vfs), { [first]: 'healthy' });
    await sysfs.remove(first, { pf: pf.address, index: 0, driver: 'igbvf' });
    assert.deepEqual(seen(await offerOf(sysfs, resources, resource, vfs)), {
      [pf.address]: 'healthy',
      [first]: 'it is gone',
    });
  });
});

describe('what a container gets', () => {
  const vfio: Pci = { address: '0000:5e:00.0', ids: '8086:1889', driver: 'vfio-pci', iommuGroup: 40 };
  const noIommu: Pci = { address: '0000:5e:00.1', ids: '8086:1889', driver: 'vfio-pci', iommuGroup: 7 };
  const rdma: Pci = { address: '0000:af:00.0', ids: '15b3:1017', driver: 'mlx5_core', net: { a0: {} }, rdma: 'mlx5_3' };
  const vdpa: Pci = {
    address: '0000:af:00.1',
    ids: '15b3:1018',
    driver: 'mlx5_core',
    vdpa: { name: 'vdpa0', driver: 'vhost_vdpa' },
  };
  const uio: Pci = { address: '0000:5e:00.2', ids: '8086:1889', driver: 'igb_uio', files: { 'uio/uio3/name': 'x' } };
  const ena: Pci = { address: '0000:00:06.0', ids: '1d0f:ec20', driver: 'ena', net: { ens6: {} } };
  const both = '/dev/vhost-net /dev/net/tun';

  const cases: readonly [title: string, devices: readonly Pci[], entry: object, files: string, info: object][] = [
    [
      'a network card of the kernel: nothing but its name',
      [ena],
      {},
      '',
      { [ena.address]: { generic: { deviceID: ena.address } } },
    ],
    [
      'vfio: the container of all groups, and its own',
      [vfio],
      {},
      '/dev/vfio/vfio /dev/vfio/40',
      {
        [vfio.address]: {
          generic: { deviceID: vfio.address },
          vfio: { mount: '/dev/vfio/vfio', 'dev-mount': '/dev/vfio/40' },
        },
      },
    ],
    [
      'uio',
      [uio],
      {},
      '/dev/uio3',
      { [uio.address]: { generic: { deviceID: uio.address }, uio: { mount: '/dev/uio3' } } },
    ],
    [
      'RDMA, where it is asked for',
      [rdma],
      { selectors: { isRdma: true } },
      '/dev/infiniband/uverbs3 /dev/infiniband/umad3 /dev/infiniband/rdma_cm',
      {
        [rdma.address]: {
          generic: { deviceID: rdma.address },
          rdma: {
            uverbs: '/dev/infiniband/uverbs3',
            umad: '/dev/infiniband/umad3',
            rdma_cm: '/dev/infiniband/rdma_cm',
            rdma_dev: 'mlx5_3',
          },
        },
      },
    ],
    ['RDMA, where it is not', [rdma], {}, '', { [rdma.address]: { generic: { deviceID: rdma.address } } }],
    [
      'vDPA',
      [vdpa],
      { selectors: { vdpaType: 'vhost' } },
      '/dev/vhost-vdpa-0',
      { [vdpa.address]: { generic: { deviceID: vdpa.address }, vdpa: { mount: '/dev/vhost-vdpa-0' } } },
    ],
    [
      'vhost-net, once for two, with more of the administrator, which is for one or for all',
      [ena, { ...ena, address: '0000:00:07.0', net: { ens7: {} } }],
      {
        selectors: { needVhostNet: true },
        additionalInfo: { '*': { token: 'all' }, '0000:00:07.0': { token: 'own', rack: '7' } },
      },
      both,
      {
        '0000:00:06.0': {
          generic: { deviceID: '0000:00:06.0' },
          extra: { token: 'all' },
          vhost: { 'net-mount': '/dev/vhost-net', 'tun-mount': '/dev/net/tun' },
        },
        '0000:00:07.0': {
          generic: { deviceID: '0000:00:07.0' },
          extra: { token: 'own', rack: '7' },
          vhost: { 'net-mount': '/dev/vhost-net', 'tun-mount': '/dev/net/tun' },
        },
      },
    ],
  ];
  for (const [title, devices, entry, files, info] of cases) {
    test(title, async () => {
      await using sysfs = await Sysfs.make(...devices);
      await sysfs.addMisc('vhost-net', 'tun', 'rdma_cm');
      const resource = only(resourcesOf({ resourceName: 'my_vf', resourcePrefix: 'my-corp.io', ...entry }));
      const offer = await offerOf(sysfs, [resource], resource, new Map());
      const given = containerDevices(resource, [...offer.values()], { hasRdmaCm: true });
      assert.equal(given.files.map(({ containerPath }) => containerPath).join(' '), files);
      const { PCIDEVICE_MY_CORP_IO_MY_VF: ids, PCIDEVICE_MY_CORP_IO_MY_VF_INFO: text, ...more } = given.environment;
      assert.equal(ids, devices.map(({ address }) => address).join(','));
      assert.deepEqual(JSON.parse(text ?? ''), info);
      assert.deepEqual(more, {});
    });
  }

  test('without an IOMMU, the group has another name on the node than in the container', async () => {
    await using sysfs = await Sysfs.make(noIommu);
    await sysfs.noIommu(7);
    const resource = only(resourcesOf({ resourceName: 'r' }));
    const offer = await offerOf(sysfs, [resource], resource, new Map());
    const { files } = containerDevices(resource, [...offer.values()], { hasRdmaCm: false });
    assert.deepEqual(files.at(-1), {
      hostPath: '/dev/vfio/noiommu-7',
      containerPath: '/dev/vfio/7',
      permissions: 'rw',
    });
  });
});

describe('devices that kubelet is to prefer', () => {
  const numa = (address: string, node: number): Pci => ({ address, ids: '1d0f:ec20', driver: 'ena', numa: node });
  const nodes = [0, 0, 1, 1, 1, 2].map((node, index) => numa(`0000:0${index}:00.0`, node));
  const [a = '', b = '', c = '', d = '', e = '', f = ''] = nodes.map(({ address }) => address);

  const cases: readonly [
    title: string,
    available: readonly string[],
    included: readonly string[],
    size: number,
    expected: readonly string[],
  ][] = [
    ['one: of the NUMA node with the fewest', [a, b, c, d, e, f], [], 1, [f]],
    ['two: of the node that has just these', [a, b, c, d, e, f], [], 2, [a, b]],
    ['three: of the node that has three', [a, b, c, d, e, f], [], 3, [c, d, e]],
    ['four: of as few nodes as possible', [a, b, c, d, e, f], [], 4, [c, d, e, f]],
    ['beside one that is given, of its node', [a, b, c, d, e, f], [a], 2, [a, b]],
    ['what is included counts', [c, d, e, f], [f], 3, [f, c, d]],
    ['no more than there are', [a], [], 3, [a]],
  ];
  for (const [title, available, included, size, expected] of cases) {
    test(title, async () => {
      await using sysfs = await Sysfs.make(...nodes);
      const resource = only(resourcesOf({ resourceName: 'r' }));
      const offer = await offerOf(sysfs, [resource], resource, new Map());
      assert.deepEqual(preferred(offer, available.toReversed(), included, size), expected);
    });
  }
});
