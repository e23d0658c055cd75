import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { checkpointFile, podResourcesSocket } from '../../src/kubelet/pod-devices.ts';
import { resourceClaims, resourceSlices } from '../../src/playground/api/resources.ts';
import { type GivenResources, servePodResources } from '../../src/playground/pod-resources.ts';
import { ip } from '../plugins/support.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type Node, type NodeOptions, startNode } from './node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
});

const sriov = 'intel.com/sriov';

/** A network whose plugin keeps what it is given. */
const plain: JsonObject = { cniVersion: '1.0.0', type: 'faulty' };
/** One that is certain to need a device. */
const declaring: JsonObject = { ...plain, capabilities: { deviceID: true } };
const telling: JsonObject = { ...plain, capabilities: { CNIDeviceInfoFile: true } };

/** What kubelet gave to the pod: by container, resource and ids. */
const given = (...containers: readonly Readonly<Record<string, readonly string[]>>[]): GivenResources => ({
  name: 'app',
  namespace: 'default',
  containers: containers.map((resources) => ({
    devices: Object.entries(resources).map(([resourceName, deviceIds]) => ({
      resourceName,
      deviceIds: [...deviceIds],
    })),
  })),
});

interface DeviceNode extends Node {
  readonly kubeletDir: string;
  readonly info: (...path: readonly string[]) => string;
  /** The files of attachments. */
  files(): Promise<string[]>;
}

/** A node whose kubelet gave devices; undefined: where no kubelet answers. */
async function deviceNode(kubelet: GivenResources | undefined, options: NodeOptions): Promise<DeviceNode> {
  const stack = new AsyncDisposableStack();
  const node = stack.use(await startNode(() => options));
  const kubeletDir = join(node.directory, 'kubelet');
  if (kubelet !== undefined) stack.use(await servePodResources(podResourcesSocket(kubeletDir), () => [kubelet]));
  const info = (...path: readonly string[]): string => join(node.directory, 'devinfo', ...path);
  return {
    ...node,
    kubeletDir,
    info,
    files: () => readdir(info('cni')).catch(() => []),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const devicesIn = ({ configs }: Node) => configs.map(({ deviceID, pciBusID }) => [deviceID, pciBusID]);

const both = (...ids: readonly string[]) => ids.map((id) => [id, id]);

async function failure(node: Node): Promise<CniError> {
  const before = await node.state();
  let thrown: unknown;
  await node.add().catch((error: unknown) => {
    thrown = error;
  });
  assert.ok(thrown instanceof CniError, 'it succeeded');
  assert.deepEqual(await node.state(), before);
  return thrown;
}

describe('a network whose definition names a resource', () => {
  test('gets a device that kubelet gave to the pod: in every plugin, and as runtimeConfig where that is declared', async () => {
    const chain = { cniVersion: '1.0.0', plugins: [{ ...declaring, pciBusID: '0000:00:00.0' }, plain] };
    await using node = await deviceNode(given({ [sriov]: ['0000:03:02.1'] }), {
      networks: 'net-a',
      definitions: { 'net-a': chain },
      resources: { 'net-a': sriov },
    });
    await node.add();
    assert.deepEqual(devicesIn(node), both('0000:03:02.1', '0000:03:02.1'));
    assert.deepEqual(
      node.configs.map(({ runtimeConfig }) => runtimeConfig),
      [{ deviceID: '0000:03:02.1' }, undefined],
    );
    await node.remove();
  });

  const cases: {
    title: string;
    given: GivenResources;
    networks: string;
    definitions: Record<string, JsonObject>;
    resources?: Record<string, string>;
    expected: readonly string[];
  }[] = [
    {
      title: 'a resource twice: each device once, in the order of their ids, over all containers',
      given: given({ [sriov]: ['0000:03:02.7', '0000:03:02.1'] }, { [sriov]: ['0000:03:02.3'] }),
      networks: 'net-a,net-b,net-a',
      definitions: { 'net-a': declaring, 'net-b': declaring },
      expected: ['0000:03:02.1', '0000:03:02.3', '0000:03:02.7'],
    },
    {
      title: 'a device that two containers share is one',
      given: given({ [sriov]: ['a'] }, { [sriov]: ['a', 'b'] }),
      networks: 'net-a,net-a',
      definitions: { 'net-a': declaring },
      expected: ['a', 'b'],
    },
    {
      title: 'two resources: each network has its own',
      given: given({ [sriov]: ['a'], 'intel.com/other': ['b'] }),
      networks: 'net-b,net-a',
      definitions: { 'net-a': declaring, 'net-b': declaring },
      resources: { 'net-a': sriov, 'net-b': 'intel.com/other' },
      expected: ['b', 'a'],
    },
    {
      title: 'a device that the pod names goes to that network, and to no other',
      given: given({ [sriov]: ['a', 'b'] }),
      networks: '[{"name":"net-a"},{"name":"net-a","deviceID":"a"}]',
      definitions: { 'net-a': declaring },
      expected: ['b', 'a'],
    },
    {
      title: 'a device that the pod names by "device-id", of those that it has, for a network without the capability',
      given: given({ [sriov]: ['a', 'mlx5_core.sf.2'] }),
      networks: '[{"name":"net-a","device-id":"mlx5_core.sf.2"}]',
      definitions: { 'net-a': plain },
      expected: ['mlx5_core.sf.2'],
    },
    {
      title: 'a device that the pod does not have, of a network that declares the capability',
      given: given({ [sriov]: ['a'] }),
      networks: '[{"name":"net-a","deviceID":"0000:03:02.9"},{"name":"net-a"}]',
      definitions: { 'net-a': declaring },
      expected: ['0000:03:02.9', 'a'],
    },
    {
      title: 'one device under the names of two resources goes to one network',
      given: given({ [sriov]: ['a', 'b'], 'intel.com/other': ['a', 'c'] }),
      networks: 'net-a,net-b',
      definitions: { 'net-a': declaring, 'net-b': declaring },
      resources: { 'net-a': sriov, 'net-b': 'intel.com/other' },
      expected: ['a', 'c'],
    },
    {
      title: 'a device of a claim, by the name of the claim',
      given: {
        name: 'app',
        namespace: 'default',
        containers: [
          {
            dynamicResources: [
              { claimName: 'app-nic', claimResources: [{ cdiDevices: [{ name: 'example.org/vf=0000:03:02.1' }] }] },
            ],
          },
        ],
      },
      networks: 'net-a',
      definitions: { 'net-a': declaring },
      resources: { 'net-a': 'app-nic' },
      expected: ['0000:03:02.1'],
    },
  ];
  for (const each of cases) {
    test(each.title, async () => {
      const { definitions, networks } = each;
      const resources = each.resources ?? Object.fromEntries(Object.keys(definitions).map((name) => [name, sriov]));
      await using node = await deviceNode(each.given, { networks, definitions, resources });
      await node.add();
      assert.deepEqual(devicesIn(node), both(...each.expected));
      await node.remove();
    });
  }

  test('the checkpoint of kubelet tells, where it does not answer', async () => {
    await using node = await deviceNode(undefined, {
      networks: 'net-a',
      definitions: { 'net-a': declaring },
      resources: { 'net-a': sriov },
    });
    const file = checkpointFile(node.kubeletDir);
    await mkdir(dirname(file), { recursive: true });
    const { uid: PodUID } = node.pod.metadata;
    const entries = [{ PodUID, ContainerName: 'main', ResourceName: sriov, DeviceIDs: { '-1': ['b', 'a'] } }];
    await writeFile(file, JSON.stringify({ Data: { PodDeviceEntries: entries }, Checksum: 1 }));
    await node.add();
    assert.deepEqual(devicesIn(node), both('a'));
    await node.remove();
  });

  test('a device that the pod does not have is refused where the network does not leave the choice to pods', async () => {
    await using node = await deviceNode(given({ [sriov]: ['a', 'b'] }), {
      networks: '[{"name":"net-a","deviceID":"0000:00:05.0"}]',
      definitions: { 'net-a': plain },
      resources: { 'net-a': sriov },
    });
    const { code, message, details } = await failure(node);
    assert.equal(code, 7);
    assert.match(message, /the pod asks for "deviceID" 0000:00:05.0 of resource intel.com\/sriov, and has a, b$/);
    assert.match(details, /declare the capability "deviceID"/);
  });

  test('where a resource only says which nodes have the network, as of bridges, the pod needs no device', async () => {
    await using node = await deviceNode(given({}), {
      networks: 'net-a',
      definitions: { 'net-a': plain },
      resources: { 'net-a': 'bridge.network.kubevirt.io/br1' },
    });
    await node.add();
    assert.deepEqual(devicesIn(node), [[undefined, undefined]]);
    await node.remove();
    node.faults.add = new CniError(7, 'no pciBusID');
    const { details } = await failure(node);
    assert.match(details, /the pod has no device of resource bridge.network.kubevirt.io\/br1, which the network names/);
  });

  const failures: { title: string; given?: GivenResources; networks?: string; resource?: string; expected: RegExp }[] =
    [
      {
        title: 'no device',
        given: given({}),
        expected:
          /^pod default\/app: network default\/net-a wants a device of resource intel.com\/sriov: kubelet gave the pod none \(by its API of pod resources\), and it has none by a ResourceClaim; .*"limits": \{"intel.com\/sriov": 1\}/,
      },
      {
        title: 'fewer devices than networks',
        given: given({ [sriov]: ['a'] }),
        networks: 'net-a,net-a',
        expected:
          /networks default\/net-a, default\/net-a want 2 devices of resource intel.com\/sriov: the pod has a; .*"limits": \{"intel.com\/sriov": 2\}/,
      },
      {
        title: 'a device that another network has taken by its id',
        given: given({ [sriov]: ['a'] }),
        networks: '[{"name":"net-a","deviceID":"a"},"x"]'.replace('"x"', '{"name":"net-a"}'),
        expected:
          /network default\/net-a wants a device of resource intel.com\/sriov: the pod has a, of which 0 are free/,
      },
      {
        title: 'no kubelet',
        expected: /kubelet could not be asked for the devices of pod default\/app: .*; see that kubelet runs/,
      },
      {
        title: 'an id that leads out of a directory',
        given: given({ [sriov]: ['../../../etc/passwd'] }),
        expected: /resource intel.com\/sriov: expected the id of a device: .*, found "..\/..\/..\/etc\/passwd"/,
      },
      {
        title: 'an id with a line of its own',
        given: given({ [sriov]: ['a\nb'] }),
        expected: /resource intel.com\/sriov: expected the id of a device: .*, found "a\\nb"/,
      },
      {
        title: 'an id without end',
        given: given({ [sriov]: ['a'.repeat(1000)] }),
        expected: /resource intel.com\/sriov: expected the id of a device: .*, found "a{80}"/,
      },
      {
        title: 'a resource whose name is a path',
        given: given({}),
        resource: '../x',
        expected:
          /NetworkAttachmentDefinition default\/net-a, annotation k8s.v1.cni.cncf.io\/resourceName: expected the name of a resource such as intel.com\/sriov, found "..\/x"/,
      },
      {
        title: 'a device that the pod names as a path',
        given: given({}),
        networks: '[{"name":"net-a","deviceID":"../x"}]',
        expected: /annotation k8s.v1.cni.cncf.io\/networks: .*deviceID: expected the id of a device/,
      },
    ];
  for (const { title, given: kubelet, networks = 'net-a', resource = sriov, expected } of failures) {
    test(`${title}: ADD fails, says what was found and what to do, and nothing is left`, async () => {
      await using node = await deviceNode(kubelet, {
        networks,
        definitions: { 'net-a': declaring },
        resources: { 'net-a': resource },
      });
      const { message, details } = await failure(node);
      assert.match(`${message}; ${details}`, expected);
      assert.equal(node.configs.length, 0);
    });
  }
});

describe('devices of ResourceClaims', () => {
  const claim = (name: string, ...results: readonly JsonObject[]) => ({
    apiVersion: 'resource.k8s.io/v1',
    kind: 'ResourceClaim',
    metadata: { name, namespace: 'default' },
    status: { allocation: { devices: { results } } },
  });
  const result = (device: string, more: JsonObject = {}) => ({
    request: 'nic',
    driver: 'sriov.example.org',
    pool: 'node-1',
    device,
    ...more,
  });
  const device = (name: string, deviceID: string, resourceName?: string) => ({
    name,
    attributes: {
      'k8s.cni.cncf.io/deviceID': { string: deviceID },
      ...(resourceName && { 'k8s.cni.cncf.io/resourceName': { string: resourceName } }),
    },
  });
  const slice = (name: string, generation: number, devices: readonly JsonObject[], driver = 'sriov.example.org') => ({
    apiVersion: 'resource.k8s.io/v1',
    kind: 'ResourceSlice',
    metadata: { name },
    spec: { driver, pool: { name: 'node-1', generation, resourceSliceCount: 1 }, devices },
  });

  const slices = [
    slice('0-old', 1, [device('vf-1', 'old', sriov)]),
    slice('a', 2, [device('vf-1', '0000:03:02.1', sriov), { name: 'gpu-1', attributes: {} }]),
    slice('b', 2, [device('vf-2', '0000:03:02.2'), device('vf-3', '0000:03:02.3', sriov)]),
    slice('other', 9, [device('vf-1', 'other', sriov)], 'other.example.org'),
  ];

  const cases: {
    title: string;
    spec?: JsonObject;
    status?: JsonObject;
    claims: readonly ReturnType<typeof claim>[];
    networks?: string;
    kubelet?: GivenResources;
    expected: readonly string[] | RegExp;
  }[] = [
    {
      title: 'a claim that the pod names',
      spec: { resourceClaims: [{ name: 'nic', resourceClaimName: 'nic-1' }] },
      claims: [claim('nic-1', result('vf-1'), result('gpu-1'))],
      expected: ['0000:03:02.1'],
    },
    {
      title: 'claims made from templates, and a device of a device plugin',
      spec: { resourceClaims: [{ name: 'nic', resourceClaimTemplateName: 'nic' }] },
      status: { resourceClaimStatuses: [{ name: 'nic', resourceClaimName: 'app-nic-x7k2p' }] },
      claims: [claim('app-nic-x7k2p', result('vf-3'), result('vf-1'))],
      networks: 'net-a,net-a,net-a',
      kubelet: given({ [sriov]: ['0000:03:02.2'] }),
      expected: ['0000:03:02.1', '0000:03:02.2', '0000:03:02.3'],
    },
    {
      title: 'the claim that stands for a resource which containers request by name',
      status: {
        extendedResourceClaimStatus: {
          resourceClaimName: 'app-extended',
          requestMappings: [{ containerName: 'main', resourceName: sriov, requestName: 'container-0-request-0' }],
        },
      },
      claims: [claim('app-extended', result('vf-2', { request: 'container-0-request-0' }))],
      expected: ['0000:03:02.2'],
    },
    {
      title: 'a claim without a device yet',
      spec: { resourceClaims: [{ name: 'nic', resourceClaimName: 'nic-1' }] },
      claims: [claim('nic-1')],
      expected: /resource claim default\/nic-1 has no device yet; see why by `kubectl describe resourceclaim`/,
    },
    {
      title: 'a claim that is gone',
      spec: { resourceClaims: [{ name: 'nic', resourceClaimName: 'nic-1' }] },
      claims: [],
      expected: /resource claim default\/nic-1 does not exist/,
    },
    {
      title: 'devices of other resources only',
      spec: { resourceClaims: [{ name: 'nic', resourceClaimName: 'nic-1' }] },
      claims: [claim('nic-1', result('vf-2'))],
      expected:
        /wants a device of resource intel.com\/sriov: kubelet gave the pod none .*, and it has none by a ResourceClaim/,
    },
  ];
  for (const { title, spec, status, claims, networks = 'net-a', kubelet = given({}), expected } of cases) {
    test(title, async () => {
      await using node = await deviceNode(kubelet, {
        networks,
        definitions: { 'net-a': declaring },
        resources: { 'net-a': sriov },
        pod: { spec, status },
      });
      for (const each of [...claims, ...slices]) node.api.store.create(each);
      assert.ok(node.api.store.list(resourceSlices).length === slices.length);
      assert.equal(node.api.store.list(resourceClaims, 'default').length, claims.length);
      if (expected instanceof RegExp) {
        const { message, details } = await failure(node);
        assert.match(`${message}; ${details}`, expected);
      } else {
        await node.add();
        assert.deepEqual(devicesIn(node), both(...expected));
        await node.remove();
      }
    });
  }
});

describe('device information', () => {
  const pci = { type: 'pci', version: '1.1.0', pci: { 'pci-address': '0000:03:02.1' } };
  const ofPlugin = 'intel.com-sriov-0000:03:02.1-device.json';
  const ofAttachment = 'default-net-a-sandbox-1_net1';

  async function told(node: DeviceNode, content: unknown): Promise<void> {
    await mkdir(node.info('dp'), { recursive: true });
    await writeFile(node.info('dp', ofPlugin), typeof content === 'string' ? content : JSON.stringify(content));
  }

  const withDevice = (definition: JsonObject, annotations = {}) =>
    deviceNode(given({ [sriov]: ['0000:03:02.1'] }), {
      networks: 'net-a',
      definitions: { 'net-a': definition },
      resources: { 'net-a': sriov },
      annotations,
    });

  for (const [title, definition, capability] of [
    ['with', telling, true],
    ['without', plain, false],
  ] as const) {
    test(`of a device plugin is copied for the attachment, told in network-status, and removed at DEL, ${title} the capability`, async () => {
      await using node = await withDevice(definition);
      await told(node, pci);
      await node.add();
      const file = node.info('cni', ofAttachment);
      assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), pci);
      assert.deepEqual(
        node.configs.map(({ runtimeConfig }) => runtimeConfig),
        [capability ? { CNIDeviceInfoFile: file } : undefined],
      );
      assert.deepEqual(
        node.networkStatus().map((status) => status['device-info']),
        [undefined, pci],
      );
      await node.remove('');
      assert.deepEqual(await node.files(), []);
      assert.deepEqual(await readdir(node.info('dp')), [ofPlugin]);
    });
  }

  test('that a plugin writes is told in network-status, and removed at DEL; a resource is not needed for it', async () => {
    await using node = await deviceNode(undefined, { networks: 'net-a', definitions: { 'net-a': telling } });
    const memif = { type: 'memif', version: '1.1.0', memif: { role: 'master', path: '/run/a.sock', mode: 'ip' } };
    node.faults.tell = JSON.stringify(memif);
    await node.add();
    assert.deepEqual(await node.files(), [ofAttachment]);
    assert.deepEqual(node.networkStatus()[1]?.['device-info'], memif);
    await node.remove();
    assert.deepEqual(await node.files(), []);
  });

  test('that nobody wrote is not told', async () => {
    await using node = await withDevice(telling);
    await node.add();
    assert.deepEqual(await node.files(), []);
    assert.ok(!('device-info' in (node.networkStatus()[1] ?? {})));
    await node.remove();
  });

  test('goes with an ADD that fails, and an earlier one is replaced', async () => {
    await using node = await withDevice(telling);
    await told(node, pci);
    await mkdir(node.info('cni'), { recursive: true });
    await writeFile(node.info('cni', ofAttachment), 'left behind');
    node.faults.add = new CniError(11, 'not now');
    const { code } = await failure(node);
    assert.equal(code, 11);
    assert.deepEqual(await node.files(), []);
    node.faults.add = undefined;
    await node.add();
    await node.add();
    assert.deepEqual(node.networkStatus()[1]?.['device-info'], pci);
    node.faults.delete = new CniError(11, 'not now');
    await assert.rejects(node.remove());
    assert.deepEqual(await node.files(), [ofAttachment]);
    node.faults.delete = undefined;
    await node.remove();
    assert.deepEqual(await node.files(), []);
  });

  const hostile: [title: string, prepare: (node: DeviceNode) => Promise<unknown>, expected: RegExp][] = [
    ['no JSON', (node) => told(node, 'BAD'), /device information .*-device.json/],
    ['a list', (node) => told(node, [pci]), /device information .*-device.json: expected/],
    ['no version', (node) => told(node, { type: 'pci', pci: {} }), /-device.json: version: expected a version/],
    ['no map of its type', (node) => told(node, { ...pci, type: 'vdpa' }), /expected a map named like the type/],
    ['more than 16 KiB', (node) => told(node, ' '.repeat(20_000)), /it has 20000 bytes, at most 16384 are read/],
    [
      'a link',
      async (node) => {
        await mkdir(node.info('dp'), { recursive: true });
        await symlink('/etc/hostname', node.info('dp', ofPlugin));
      },
      /device information .*: ELOOP/,
    ],
    ['a directory', (node) => mkdir(node.info('dp', ofPlugin), { recursive: true }), /expected a file/],
    [
      'what the plugin itself writes',
      async (node) => {
        node.faults.tell = '{"type":1}';
      },
      /device information .*sandbox-1_net1: type: expected the type of a device, found 1/,
    ],
  ];
  for (const [title, prepare, expected] of hostile) {
    test(`that is none is refused, and nothing is left: ${title}`, async () => {
      await using node = await withDevice(telling);
      await prepare(node);
      const { message } = await failure(node);
      assert.match(message, expected);
      assert.deepEqual(await node.files(), []);
    });
  }

  test('has a name of its own where names are too long for a file', async () => {
    const name = 'a'.repeat(200);
    await using node = await deviceNode(undefined, { networks: name, definitions: { [name]: telling } });
    node.faults.tell = JSON.stringify(pci);
    await node.add();
    assert.match(String(await node.files()), /^(default-a{200}-sandbox-1_net1|[0-9a-f]{64})$/);
    await node.remove();
    assert.deepEqual(await node.files(), []);
  });
});
