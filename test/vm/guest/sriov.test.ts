import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { CniError, ErrorCode } from '../../../src/cni/error.ts';
import { isJsonArray, isJsonObject, type JsonObject } from '../../../src/cni/json.ts';
import { Runner } from '../../../src/cni/runner.ts';
import { podResourcesSocket } from '../../../src/kubelet/pod-devices.ts';
import { type GivenResources, servePodResources } from '../../../src/playground/pod-resources.ts';
import { hostLocal } from '../../../src/plugins/host-local.ts';
import { createSriov } from '../../../src/plugins/sriov.ts';
import { startLiveNode } from '../../daemon/live/node.ts';
import { Kubelet } from '../../devices/kubelet.ts';
import { network } from '../../playground-api/manifests.ts';
import { attachment, config, hostLocalAddresses, ip, withResult } from '../../plugins/support.ts';
import { exchange } from '../../plugins/traffic.ts';
import { testDirectory } from '../../support/directory.ts';
import { testNamespace } from '../../support/namespace.ts';
import { addWire } from '../../support/node.ts';

const run = promisify(execFile);

/* Virtual functions of SR-IOV hardware, as QEMU emulates it: of the first igb card of the VM, which is the node here. */

const pf = '0000:01:00.0';
const devices = '/sys/bus/pci/devices';

/** A name that no other test of the VM sees on the node when a namespace has ended. */
const ifName = 'vf0';

/** Milliseconds between looks, and looks at most, at what the kernel does by itself. */
const interval = 100;
const maxLooks = 300;

interface Function {
  readonly address: string;
  readonly name: string;
}

describe('sriov on hardware', () => {
  let physical: string;
  let first: Function;
  let second: Function;
  let directory: string;
  let runner: Runner;

  before(async () => {
    await run('modprobe', ['-a', 'igb', 'igbvf']);
    physical = await interfaceOf(pf);
    await ip(undefined, 'link', 'set', physical, 'up');
    await writeFile(join(devices, pf, 'sriov_numvfs'), '2');
    [first, second] = [await functionAt(0), await functionAt(1)];
    // Their addresses, which their driver has chosen, are known to the physical function once they have been up.
    for (const { name } of [first, second]) {
      await ip(undefined, 'link', 'set', name, 'up');
      await ip(undefined, 'link', 'set', name, 'down');
    }
    directory = await mkdtemp(join(tmpdir(), 'plx-test-'));
    runner = new Runner({ builtin: [createSriov('/sys', directory), hostLocal] });
  });

  after(() => rm(directory, { recursive: true }));

  const attributes = { mac: '02:00:5e:00:00:01', vlan: 7, vlanQoS: 3, spoofchk: 'off', trust: 'on', max_tx_rate: 100 };
  const set = {
    address: attributes.mac,
    vlan: [{ vlan: 7, qos: 3 }],
    spoofchk: false,
    trust: true,
    rate: { max_tx: 100, min_tx: 0 },
  };

  test('pods with a virtual function each exchange packets of every size in their VLAN, and DEL gives all back', async () => {
    const earlier = await all();
    await using addresses = await hostLocalAddresses();
    await using one = await testNamespace();
    await using other = await testNamespace();
    const keys = { vlan: 7, ipam: addresses.ipam };
    const places = [
      { network: config('sriov', { ...keys, deviceID: first.address }), at: place(one.path) },
      {
        network: config('sriov', { ...keys, runtimeConfig: { deviceID: second.address } }),
        at: place(other.path, 'c2'),
      },
    ];
    for (const { network, at } of places) await runner.add(network, at);
    for (const size of [64, 1500, 4000]) await exchange(one.path, other.path, '10.1.2.3', size);
    await exchange(other.path, one.path, '10.1.2.2', 1500);
    for (const { network, at } of places) await runner.delete(network, at);
    assert.deepEqual(await all(), earlier);
    assert.deepEqual(await addresses.reserved(), []);
    assert.deepEqual(await files(), []);
  });

  test('a virtual function has in the pod what its physical function is told, and DEL restores it, twice', async () => {
    const earlier = await all();
    await using pod = await testNamespace();
    const network = config('sriov', { ...attributes, mtu: 1400, deviceID: first.address });
    const result = await runner.add(network, place(pod.path));
    assert.deepEqual(result.interfaces, [
      { name: ifName, mac: attributes.mac, mtu: 1400, sandbox: pod.path, pciID: first.address },
    ]);
    assert.deepEqual(told(await functionOf(0)), set);
    const [link] = await ip(pod.path, 'link', 'show', ifName);
    assert.deepEqual([link?.['address'], link?.['mtu'], link?.['parentdev']], [attributes.mac, 1400, first.address]);
    await runner.check(withResult(network, result), place(pod.path));
    await ip(undefined, 'link', 'set', physical, 'vf', '0', 'spoofchk', 'on');
    await assert.rejects(runner.check(withResult(network, result), place(pod.path)), /spoofCheck/);
    for (const _ of [1, 2]) await runner.delete(withResult(network, result), place(pod.path));
    assert.deepEqual(await all(), earlier);
    assert.equal((await ip(pod.path, 'link')).length, 1);
  });

  test('DEL restores it as well when the namespace is gone, when none is named, and when the pod has renamed it', async () => {
    const earlier = await all();
    const network = config('sriov', { ...attributes, mtu: 1400, deviceID: first.address });
    for (const way of ['gone', 'unnamed', 'renamed']) {
      await using pod = await testNamespace();
      await runner.add(network, place(pod.path));
      if (way === 'gone') await pod[Symbol.asyncDispose]();
      if (way === 'renamed') {
        for (const words of [['down'], ['name', 'mine', 'alias', 'mine']]) {
          await run('ip', ['-n', nameOf(pod.path), 'link', 'set', ifName, ...words]);
        }
      }
      for (const _ of [1, 2]) await runner.delete(network, place(way === 'unnamed' ? '' : pod.path));
      assert.deepEqual(await all(), earlier, way);
    }
  });

  const failing: readonly { readonly what: string; readonly keys: JsonObject; readonly message: RegExp }[] = [
    {
      what: 'an attribute that the driver does not have',
      keys: { link_state: 'enable' },
      message: /state enable.*not supported/i,
    },
    {
      what: 'a value that it does not take',
      keys: { vlan: 8, vlanProto: '802.1ad' },
      message: /vlan 8 qos 3.*protocol not supported/,
    },
    { what: 'an address that nobody can have', keys: { mac: '03:00:5e:00:00:01' }, message: /mac 03:00:5e/ },
    { what: 'an MTU that it does not take', keys: { mtu: 20_000 }, message: /mtu 20000/ },
    {
      what: 'a route that the kernel refuses',
      keys: {
        ipam: {
          type: 'host-local',

          routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }],
        },
      },
      message: /unreachable/,
    },
  ];
  for (const { what, keys, message } of failing) {
    test(`after ${what}, the virtual function is as it was`, async (t) => {
      await ip(undefined, 'link', 'set', first.name, 'up', 'alias', 'uplink of rack 7');
      t.after(() => ip(undefined, 'link', 'set', first.name, 'down', 'alias', ''));
      const earlier = await all();
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const ipam = isJsonObject(keys['ipam']) ? { ...addresses.ipam, ...keys['ipam'] } : addresses.ipam;
      const network = config('sriov', { ...attributes, ...keys, ipam, deviceID: first.address });
      await assert.rejects(runner.add(network, place(pod.path)), message);
      assert.deepEqual(await all(), earlier);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
      assert.deepEqual(await files(), []);
    });
  }

  test('of two pods that are to have one virtual function, the second is told to try again', async () => {
    const earlier = await all();
    await using one = await testNamespace();
    await using other = await testNamespace();
    const network = config('sriov', { vlan: 7, deviceID: first.address });
    const places = [place(one.path), place(other.path, 'c2')];
    const outcomes = await Promise.allSettled(places.map((each) => runner.add(network, each)));
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    assert.equal(refused.length, 1);
    assert.ok(refused[0] instanceof CniError && refused[0].code === ErrorCode.TryAgainLater, `${refused[0]}`);
    assert.match(refused[0].message, /is already allocated: \/run\/netns\/plx-test/);
    assert.deepEqual(told(await functionOf(0)).vlan, [{ vlan: 7 }]);
    for (const each of places) await runner.delete(network, each);
    assert.deepEqual(await all(), earlier);
  });

  test('what a pod that ended without a DEL had is given back before the next pod has it', async () => {
    const earlier = await all();
    const ended = await testNamespace();
    await runner.add(config('sriov', { ...attributes, deviceID: first.address }), place(ended.path));
    await ended[Symbol.asyncDispose]();
    await using pod = await testNamespace();
    const network = config('sriov', { deviceID: first.address });
    const next = place(pod.path, 'c2');
    await runner.add(network, next);
    assert.deepEqual(await functionOf(0), earlier.functions[0]);
    await runner.delete(network, place(ended.path));
    assert.equal((await ip(pod.path, 'link', 'show', ifName)).length, 1);
    await runner.delete(network, next);
    assert.deepEqual(await all(), earlier);
  });

  test('GC gives back what no attachment has any more', async () => {
    const earlier = await all();
    await using pod = await testNamespace();
    const ended = await testNamespace();
    const keys = { ...attributes, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: ifName }] };
    await runner.add(config('sriov', { ...keys, deviceID: first.address }), place(pod.path));
    const mac = '02:00:5e:00:00:02';
    const next = place(ended.path, 'c2');
    await runner.add(config('sriov', { ...keys, mac, deviceID: second.address }), next);
    await ended[Symbol.asyncDispose]();
    await runner.gc(config('sriov', keys), []);
    assert.equal((await ip(pod.path, 'link', 'show', ifName))[0]?.['address'], attributes.mac);
    assert.deepEqual(await functionOf(1), earlier.functions[1]);
    await runner.gc(config('sriov', { 'cni.dev/valid-attachments': [] }), []);
    assert.deepEqual(await all(), earlier);
    assert.deepEqual(await files(), []);
  });

  test('DEL restores what an ADD that was killed has changed', async () => {
    const earlier = await all();
    await using pod = await testNamespace();
    const network = config('sriov', { ...attributes, ipam: { type: 'hangs' }, deviceID: first.address });
    const child = startAdd(network, pod.path);
    await eventually(async () => (await ip(pod.path, 'link')).length > 1 || undefined);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await runner.delete(config('sriov', { ...network, ipam: {} }), place(pod.path));
    assert.deepEqual(await all(), earlier);
  });

  test('DEL restores what the sriov-cni project has noted', async () => {
    const earlier = await all();
    await using pod = await testNamespace();
    const network = config('sriov', { ...attributes, deviceID: first.address });
    await runner.add(network, place(pod.path));
    const path = join(directory, 'c1-vf0');
    const { OrigVfState, ...noted }: Record<string, object> = JSON.parse(await readFile(path, 'utf8'));
    const original = Object.fromEntries(
      Object.entries(OrigVfState ?? {}).filter(([key]) => !['Alias', 'Up'].includes(key)),
    );
    await writeFile(path, JSON.stringify({ ...noted, RuntimeConfig: {}, OrigVfState: original }));
    await run('ip', ['-n', nameOf(pod.path), 'link', 'set', ifName, 'alias', '']);
    await runner.delete(network, place(pod.path));
    assert.deepEqual(await all(), earlier);
  });

  test('a virtual function that uio_pci_generic drives is reported, with what its physical function is told', async (t) => {
    await bindTo('uio_pci_generic');
    t.after(() => bindTo('igbvf'));
    const earlier = await all();
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const network = config('sriov', { ...attributes, ipam: addresses.ipam, deviceID: first.address });
    const result = await runner.add(network, place(pod.path));
    assert.deepEqual(result.interfaces, [
      { name: ifName, mac: attributes.mac, sandbox: pod.path, pciID: first.address },
    ]);
    assert.deepEqual(result.ips, [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 }]);
    assert.deepEqual(told(await functionOf(0)), set);
    assert.equal((await ip(pod.path, 'link')).length, 1);
    await runner.check(withResult(network, result), place(pod.path));
    await using other = await testNamespace();
    await assert.rejects(runner.add(network, place(other.path, 'c2')), /already allocated/);
    await runner.delete(network, place(pod.path));
    assert.deepEqual(await all(), earlier);
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('a card whose virtual functions pods have, and a device that is not there, are named', async () => {
    await using pod = await testNamespace();
    const refused = [
      { deviceID: pf, message: /PCI device 0000:01:00\.0 has virtual functions, which need it on the node/ },
      { deviceID: '0000:01:1f.7', message: /this node has no PCI device 0000:01:1f\.7/ },
    ];
    for (const { deviceID, message } of refused) {
      await assert.rejects(runner.add(config('sriov', { deviceID }), place(pod.path)), message);
    }
    assert.deepEqual(await files(), []);
  });

  test('a pod has the function that kubelet allocated to it from the daemon, and what happens to it is told', async () => {
    const earlier = await all();
    await using files = await testDirectory();
    const at = (name: string): string => join(files.path, name);
    const resource = 'intel.com/vf';
    const selectors = { rootDevices: [pf], drivers: ['igbvf'] };
    await writeFile(at('pcidp.json'), JSON.stringify({ resourceList: [{ resourceName: 'vf', selectors }] }));
    const settings = { kubeletDir: at('kubelet'), deviceInfoDir: at('devinfo'), devicePluginConfig: at('pcidp.json') };
    const given: GivenResources[] = [];
    await using kubelet = await Kubelet.start(settings.kubeletDir);
    await using _told = await servePodResources(podResourcesSocket(settings.kubeletDir), () => given);
    await using _wire = await wire('ens5');
    await using node = await startLiveNode({ config: settings });
    const ids = [first.address, second.address];
    await kubelet.sees(
      resource,
      ids.map((id) => `${id} Healthy`),
    );
    await kubelet.allocate(resource, second.address);
    const container = { devices: [{ resourceName: resource, deviceIds: [second.address] }] };
    given.push({ name: 'app', namespace: 'default', containers: [container] });

    const ipam = { type: 'host-local', dataDir: at('networks'), subnet: '10.1.2.0/24' };
    const { metadata, ...definition } = network(
      'vf',
      JSON.stringify({ cniVersion: '1.0.0', type: 'sriov', ...attributes, ipam }),
    );
    const annotations = { 'k8s.v1.cni.cncf.io/resourceName': resource };
    node.api.store.create({ ...definition, metadata: { ...metadata, annotations } });
    const sandbox = await node.addPod('vf@data0');
    const status = node.status().find((each) => each.interface === 'data0');
    assert.deepEqual([status?.mac, status?.ips], [attributes.mac, ['10.1.2.2']]);
    assert.deepEqual(status?.['device-info'], {
      type: 'pci',
      version: '1.1.0',
      pci: { 'pci-address': second.address },
    });
    assert.equal((await ip(sandbox.namespace.path, 'link', 'show', 'data0'))[0]?.['parentdev'], second.address);
    assert.deepEqual(told(await functionOf(1)), set);
    assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
    assert.deepEqual(await all(), earlier);
    assert.deepEqual((await node.held()).journal, []);

    await writeFile(join(devices, pf, 'sriov_numvfs'), '0');
    await kubelet.sees(
      resource,
      ids.map((id) => `${id} Unhealthy`),
    );
  });

  /** Everything that is to be as it was. */
  async function all() {
    const links = await ip(undefined, 'link');
    const shown = links.map(({ ifname, ifalias = '', address, mtu, flags, parentdev = '' }) => {
      const isUp = isJsonArray(flags) && flags.includes('UP');
      return { ifname, ifalias, address, mtu, isUp, parentdev };
    });
    const virtual = shown.filter(({ parentdev }) => [first.address, second.address].includes(`${parentdev}`));
    return { functions: [await functionOf(0), await functionOf(1)], virtual };
  }

  async function functionOf(number: number): Promise<JsonObject | undefined> {
    const [link] = await ip(undefined, 'link', 'show', physical);
    const list = link?.['vfinfo_list'];
    return isJsonArray(list) ? list.filter(isJsonObject).find(({ vf }) => vf === number) : undefined;
  }

  async function files(): Promise<string[]> {
    const entries = await readdir(directory, { recursive: true });
    return entries.filter((name) => name !== 'pci');
  }

  /** An ADD in a process of its own, whose IPAM plugin never answers. */
  function startAdd(network: JsonObject, netns: string): ChildProcess {
    const source = `
      import { createSriov } from ${JSON.stringify(join(import.meta.dirname, '../../../src/plugins/sriov.ts'))};
      const attachment = { containerId: 'c1', netns: ${JSON.stringify(netns)}, ifName: '${ifName}', args: new Map(), path: [] };
      const plugins = { add: () => new Promise(() => setInterval(() => {}, 1000)) };
      await createSriov('/sys', ${JSON.stringify(directory)}).add({ config: ${JSON.stringify(network)}, attachment, plugins });`;
    return spawn(process.execPath, ['--input-type=module', '--eval', source], { stdio: 'inherit' });
  }

  async function bindTo(driver: string): Promise<void> {
    const path = join(devices, first.address);
    await run('modprobe', [driver]);
    await writeFile(join(path, 'driver_override'), `${driver}\n`);
    await writeFile(join(path, 'driver/unbind'), first.address);
    await writeFile('/sys/bus/pci/drivers_probe', first.address);
    assert.match(await readlink(join(path, 'driver')), new RegExp(`/${driver}$`));
  }
});

const place = (netns: string, containerId = 'c1') => attachment(netns, { containerId, ifName });

/** The attributes that the tests set, as ip(8) shows them. */
function told(shown: JsonObject | undefined) {
  const { address, vlan_list: vlan, spoofchk, trust, rate } = shown ?? {};
  return { address, vlan, spoofchk, trust, rate };
}

/** A wire of the node, which is this VM. */
async function wire(name: string): Promise<AsyncDisposable> {
  await addWire(name);
  return {
    async [Symbol.asyncDispose]() {
      await ip(undefined, 'link', 'del', name);
    },
  };
}

const nameOf = (netns: string): string => netns.replace('/run/netns/', '');

async function functionAt(number: number): Promise<Function> {
  const target = await readlink(join(devices, pf, `virtfn${number}`));
  const address = target.replace('../', '');
  return { address, name: await interfaceOf(address) };
}

/** A driver makes an interface in its own time. */
function interfaceOf(address: string): Promise<string> {
  return eventually(async () => (await readdir(join(devices, address, 'net')).catch(() => []))[0]);
}

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let looks = 0; looks < maxLooks; looks++) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await sleep(interval);
  }
  throw new Error('what was waited for did not happen');
}
