import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { lookAtDevices } from '../../src/cli/devices/look.ts';
import { devicesDocument, renderDevices } from '../../src/cli/devices/report.ts';
import { ena, Sysfs, vfsOf, walkThrough } from '../devices/sysfs.ts';
import { testDirectory } from '../support/directory.ts';
import { run } from './plexus.ts';

async function look(sysfs: Sysfs, config: object | undefined) {
  await using directory = await testDirectory();
  const file = join(directory.path, 'config.json');
  if (config !== undefined) await writeFile(file, JSON.stringify(config));
  const options = { devicePluginConfig: file, devicePluginPrefix: 'intel.com', stateDir: directory.path };
  const report = await lookAtDevices(options, { root: sysfs.root, defaultInterfaces: async () => ['ens5'] });
  return {
    ...report,
    configFile: 'config.json',
    problems: report.problems.map((each) => each.replaceAll(file, 'config.json')),
  };
}

test("the walk-through's node: a table of its devices, and why one is left out", async () => {
  await using sysfs = await Sysfs.make(...ena);
  const report = await look(sysfs, walkThrough);
  assert.equal(
    renderDevices(report, undefined),
    `DEVICE         ID          DRIVER   INTERFACE   VFS   NUMA   RESOURCE
0000:00:05.0   1d0f:ec20   ena      ens5        0     0      <none>
0000:00:06.0   1d0f:ec20   ena      ens6        0     0      intel.com/aws_ena_vf
0000:00:07.0   1d0f:ec20   ena      ens7        0     0      intel.com/aws_ena_vf

LEFT OUT  0000:00:05.0: the default route leads through its interface ens5
`,
  );
});

test('all columns, VFs with their numbers, and what is wrong with the configuration', async () => {
  const pf = { address: '0000:3b:00.0', ids: '15b3:1017', driver: 'mlx5_core', net: { ens1: {} }, rdma: 'mlx5_0' };
  await using sysfs = await Sysfs.make(pf, ...vfsOf(pf, '15b3:1018', 'mlx5_core', 1));
  await sysfs.addAuxiliary(pf.address, 'mlx5_core.rdma.0');
  const report = await look(sysfs, { resourceList: [{ resourceName: 'vf', color: 'red' }, { resourceName: '-' }] });
  assert.equal(
    renderDevices(report, 'wide'),
    `DEVICE         ID          DRIVER      INTERFACE   VFS         NUMA     TYPE        LINK    RDMA     VDPA     IOMMU GROUP   RESOURCE
0000:3b:00.0   15b3:1017   mlx5_core   ens1        1           <none>   netDevice   ether   mlx5_0   <none>   <none>        <none>
0000:3b:02.0   15b3:1018   mlx5_core   ens1v0      0 of ens1   <none>   netDevice   ether   <none>   <none>   <none>        intel.com/vf

LEFT OUT  0000:3b:00.0: it is the physical function of 1 VF, which may be taken instead
PROBLEM   config.json: resourceList[1]: resourceName: expected a name of letters, digits and _, found "-"
UNKNOWN   config.json: nobody knows resourceList[0].color
`,
  );
  assert.deepEqual(devicesDocument(report)['items'], [
    {
      id: '0000:3b:00.0',
      type: 'netDevice',
      pciAddress: '0000:3b:00.0',
      vendor: '15b3',
      device: '1017',
      driver: 'mlx5_core',
      numaNode: undefined,
      interfaces: ['ens1'],
      linkType: 'ether',
      physicalFunction: { pciAddress: '0000:3b:00.0', interface: 'ens1' },
      vf: undefined,
      vfs: 1,
      rdma: ['mlx5_0'],
      vdpa: undefined,
      resource: undefined,
      reason: 'it is the physical function of 1 VF, which may be taken instead',
    },
    {
      id: '0000:3b:02.0',
      type: 'netDevice',
      pciAddress: '0000:3b:02.0',
      vendor: '15b3',
      device: '1018',
      driver: 'mlx5_core',
      numaNode: undefined,
      interfaces: ['ens1v0'],
      linkType: 'ether',
      physicalFunction: { pciAddress: '0000:3b:00.0', interface: 'ens1' },
      vf: 0,
      vfs: 0,
      rdma: undefined,
      vdpa: undefined,
      resource: 'intel.com/vf',
      reason: undefined,
    },
  ]);
});

test('auxiliary devices are told of where a resource is to have some', async () => {
  const card = { address: '0000:3b:00.0', ids: '15b3:1017', driver: 'mlx5_core', net: { ens1: {} } };
  await using sysfs = await Sysfs.make(card);
  await sysfs.addAuxiliary(card.address, 'mlx5_core.sf.2', 'ens1s4', { sfnum: '4\n' });
  const { candidates } = await look(sysfs, { resourceList: [{ resourceName: 'sf', deviceType: 'auxNetDevice' }] });
  assert.deepEqual(
    candidates.map(({ device, taken }) => [device.id, taken?.resource.fullName]),
    [
      ['0000:3b:00.0', undefined],
      ['mlx5_core.sf.2', 'intel.com/sf'],
    ],
  );
});

test('a node without devices or without a configuration is told so', async () => {
  await using sysfs = await Sysfs.make();
  const report = await look(sysfs, undefined);
  assert.equal(
    renderDevices(report, undefined),
    `This node has no network card and no accelerator on its PCI bus.

PROBLEM   config.json: there is no such file, hence no resource; create it, or name another one as devicePluginConfig
`,
  );
});

test("the command reads the daemon's configuration, and fails where a resource is left out", async () => {
  await using directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  const daemon = { stateDir: directory.path, devicePluginConfig: at('config.json'), devicePluginPrefix: 'example.org' };
  await writeFile(at('daemon.json'), JSON.stringify(daemon));
  await writeFile(at('config.json'), JSON.stringify({ resourceList: [{ resourceName: 'a' }] }));
  const good = await run(['devices', '--config', at('daemon.json'), '-o', 'json']);
  assert.deepEqual([good.status, good.stderr], [0, '']);
  const { kind, config, problems } = JSON.parse(good.stdout);
  assert.deepEqual([kind, config, problems], ['DeviceList', at('config.json'), []]);
  await writeFile(at('config.json'), JSON.stringify({ resourceList: [{ resourceName: '' }] }));
  const bad = await run(['devices', '--config', at('daemon.json')]);
  assert.equal(bad.status, 1);
  assert.match(bad.stdout, /^PROBLEM {3}.*resourceList\[0\]: resourceName: expected a name/m);
});
