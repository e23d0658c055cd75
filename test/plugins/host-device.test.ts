import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { Runner } from '../../src/cni/runner.ts';
import { links } from '../../src/linux/link.ts';
import { Container } from '../../src/plugins/container-interface.ts';
import { moveIn, openNode } from '../../src/plugins/host-device/move.ts';
import { createHostDevice } from '../../src/plugins/host-device.ts';
import { hostLocal } from '../../src/plugins/host-local.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, withResult } from './support.ts';

const run = promisify(execFile);

becomeNode();

describe('host-device', () => {
  test('an ADD moves the device with its addresses, and its DEL gives it back, twice', async (t) => {
    const name = await device(t);
    await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16' }] });
    await using pod = await testNamespace();
    const before = await stateOf(name);
    const network = config('host-device', { device: name, ipam: addresses.ipam, dns: { domain: 'example' } });
    const result = await runner.add(network, attachment(pod.path));

    assert.deepEqual(await stateOf(name), undefined);
    const [link] = await ip(pod.path, 'address', 'show', 'net1');
    assert.equal(link?.['ifalias'], name);
    assert.match(JSON.stringify(link), /"UP".*"local":"10\.1\.2\.2"/);
    assert.deepEqual(result, {
      interfaces: [{ name: 'net1', mac: before?.['address'], sandbox: pod.path }],
      ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 }],
      routes: result.routes,
      dns: { domain: 'example' },
    });
    await runner.check(withResult(network, result), attachment(pod.path));

    for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
    assert.equal((await ip(pod.path, 'link')).length, 1);
    assert.deepEqual(await stateOf(name), { ...before, up: false });
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('traffic goes through the device after the move', async (t) => {
    const name = await device(t);
    await ip(undefined, 'address', 'add', '10.1.2.1/24', 'dev', `${name}p`);
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await runner.add(config('host-device', { device: name, ipam: addresses.ipam }), attachment(pod.path));
    const server = createServer((socket) => socket.end(`hello ${socket.remoteAddress}`));
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, '10.1.2.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const read = `exec 3<>/dev/tcp/10.1.2.1/${port} && cat <&3`;
    const { stdout } = await run('nsenter', [`--net=${pod.path}`, 'bash', '-c', read]);
    assert.equal(stdout, 'hello 10.1.2.2');
  });

  for (const kind of ['ifb', 'macvlan'] as const) {
    test(`a device of kind ${kind} goes and comes back`, async (t) => {
      const name = await device(t);
      const other = `${name}k`;
      const parent = kind === 'macvlan' ? ['link', name] : [];
      await ip(undefined, 'link', 'add', ...parent, 'name', other, 'type', kind);
      t.after(() => ip(undefined, 'link', 'del', other).catch(() => undefined));
      await using pod = await testNamespace();
      const network = config('host-device', { device: other });
      const result = await runner.add(network, attachment(pod.path));
      await runner.check(withResult(network, result), attachment(pod.path));
      await runner.delete(network, attachment(pod.path));
      assert.equal((await stateOf(other))?.['alias'], undefined);
    });
  }

  test('a device is found by an alternative name, and goes back under its own', async (t) => {
    const name = await device(t);
    const alternative = `eni-of-the-node-${name}`;
    await ip(undefined, 'link', 'property', 'add', 'dev', name, 'altname', alternative);
    await using pod = await testNamespace();
    const network = config('host-device', { device: alternative });
    await runner.add(network, attachment(pod.path));
    assert.equal(await stateOf(name), undefined);
    await runner.delete(network, attachment(pod.path));
    assert.equal((await stateOf(name))?.['up'], false);
  });

  for (const form of [(mac: string) => mac.toUpperCase(), (mac: string) => mac.replaceAll(':', '-'), dotted]) {
    test(`a device is found by its hardware address, written as ${form('02:00:5e:10:00:01')}`, async (t) => {
      const name = await device(t);
      const mac = String((await stateOf(name))?.['address']);
      await using pod = await testNamespace();
      const network = config('host-device', { hwaddr: form(mac) });
      const { interfaces } = await runner.add(network, attachment(pod.path));
      assert.equal(interfaces[0]?.mac, mac);
      assert.equal(await stateOf(name), undefined);
      await runner.delete(network, attachment(pod.path));
    });
  }

  const pci = '0000:00:06.0';
  const selections = [
    { keys: { pciBusID: pci }, at: `bus/pci/devices/${pci}/net` },
    { keys: { pciBusID: pci }, at: `bus/pci/devices/${pci}/virtio3/net` },
    { keys: { kernelpath: `/sys/devices/pci0000:00/${pci}` }, at: `devices/pci0000:00/${pci}/net` },
    { keys: { runtimeConfig: { deviceID: 'mlx5_core.sf.2' } }, at: 'bus/auxiliary/devices/mlx5_core.sf.2/net' },
    { keys: { pciBusID: '0000:00:07.0', runtimeConfig: { deviceID: pci } }, at: `bus/pci/devices/${pci}/net` },
    {
      keys: { pciBusID: '', hwaddr: '', device: '', runtimeConfig: { deviceID: pci } },
      at: `bus/pci/devices/${pci}/net`,
    },
  ];
  for (const { keys, at } of selections) {
    test(`a device is found at /sys/${at} by ${JSON.stringify(keys)}`, async (t) => {
      const name = await device(t);
      await using sysfs = await fakeSysfs([`${at}/${name}`]);
      await using pod = await testNamespace();
      const network = config('host-device', keys);
      await sysfs.runner.add(network, attachment(pod.path));
      assert.equal((await ip(pod.path, 'link', 'show', 'net1'))[0]?.['ifalias'], name);
      await sysfs.runner.delete(network, attachment(pod.path));
      assert.equal((await stateOf(name))?.['up'], false);
    });
  }

  test('of several keys, device goes before hwaddr, hwaddr before kernelpath, kernelpath before a PCI address', async (t) => {
    const names = [await device(t), await device(t), await device(t), await device(t)] as const;
    const at = `/sys/devices/pci0000:00/0000:00:09.0`;
    await using sysfs = await fakeSysfs([`${at.slice(5)}/net/${names[2]}`, `bus/pci/devices/${pci}/net/${names[3]}`]);
    const keys = {
      device: names[0],
      hwaddr: String((await stateOf(names[1]))?.['address']),
      kernelpath: at,
      pciBusID: pci,
    };
    for (const [index, key] of Object.keys(keys).entries()) {
      await using pod = await testNamespace();
      const given = Object.fromEntries(Object.entries(keys).slice(index));
      await sysfs.runner.add(config('host-device', given), attachment(pod.path));
      assert.equal((await ip(pod.path, 'link', 'show', 'net1'))[0]?.['ifalias'], names[index], key);
      await sysfs.runner.delete(config('host-device', given), attachment(pod.path));
    }
  });

  for (const driver of ['vfio-pci', 'uio_pci_generic', 'igb_uio']) {
    test(`a device that ${driver} drives is reported with its addresses, and nothing is moved`, async () => {
      await using sysfs = await fakeSysfs([`bus/pci/drivers/${driver}`, `bus/pci/devices/${pci}`]);
      await symlink(`../../drivers/${driver}`, join(sysfs.root, `bus/pci/devices/${pci}/driver`));
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const network = config('host-device', { pciBusID: pci, ipam: addresses.ipam });
      const result = await sysfs.runner.add(network, attachment(pod.path));
      assert.deepEqual(result, {
        interfaces: [{ name: 'net1', sandbox: pod.path }],
        ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 }],
        routes: [],
        dns: {},
      });
      await sysfs.runner.check(withResult(network, result), attachment(pod.path));
      assert.equal((await ip(pod.path, 'link')).length, 1);
      await sysfs.runner.delete(network, attachment(pod.path));
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('two devices swap their names on the way in, and get them back', async (t) => {
    const [first, second] = [await device(t), await device(t)];
    const before = [await stateOf(first), await stateOf(second)];
    await using pod = await testNamespace();
    const networks = [
      { network: config('host-device', { device: first }), place: attachment(pod.path, { ifName: second }) },
      { network: config('host-device', { device: second }), place: attachment(pod.path, { ifName: first }) },
    ];
    for (const { network, place } of networks) await runner.add(network, place);
    for (const { network, place } of networks) await runner.delete(network, place);
    const after = [await stateOf(first), await stateOf(second)];
    assert.deepEqual(
      after,
      before.map((state) => ({ ...state, up: false })),
    );
  });

  for (const inside of [false, true]) {
    const where = inside ? ', and in the container too' : '';
    test(`a DEL whose device's name is taken on the node${where} leaves it in the container, and succeeds once it is free`, async (t) => {
      const name = await device(t);
      await using pod = await testNamespace();
      const network = config('host-device', { device: name });
      await runner.add(network, attachment(pod.path));
      const moved = await ip(pod.path, 'link', 'show', 'net1');
      await ip(undefined, 'link', 'add', 'name', name, 'type', 'ifb');
      if (inside) await ip(pod.path, 'link', 'add', 'name', name, 'type', 'ifb');
      await assert.rejects(
        runner.delete(network, attachment(pod.path)),
        new RegExp(`failed to move "net1" back to the node as "${name}": .*exists`, 'i'),
      );
      assert.deepEqual(shown(await ip(pod.path, 'link', 'show', 'net1')), shown(moved));
      await ip(undefined, 'link', 'del', name);
      await runner.delete(network, attachment(pod.path));
      assert.equal((await stateOf(name))?.['kind'], 'veth');
    });
  }

  const hostile = ['../../../etc', '0000:00:06.0/../../..', '/0000:00:06.0', '*', 'a.b.c\0'];
  const refused = [
    ...hostile.map((pciBusID) => ({ keys: { pciBusID }, message: /pciBusID: expected a PCI address/, code: 7 })),
    ...hostile.map((deviceID) => ({
      keys: { runtimeConfig: { deviceID } },
      message: /runtimeConfig\.deviceID: expected a PCI address such as 0000:00:06\.0, or the name of an auxiliary/,
      code: 7,
    })),
    ...['/etc', '/sys/devices/../../etc', '/sys/devices/a/./b', 'sys/devices/a', '/sys/devices/'].map((kernelpath) => ({
      keys: { kernelpath },
      message: /kernelpath: expected a path below \/sys\/devices\//,
      code: 7,
    })),
    { keys: { device: 'a/b' }, message: /device: expected the name of an interface, found "a\/b"/, code: 7 },
    { keys: { hwaddr: '02:00' }, message: /hwaddr: expected a hardware address/, code: 7 },
    { keys: {}, message: /^specify either "device", "hwaddr", "kernelpath" or "pciBusID"$/, code: 7 },
    { keys: { device: 'ens99' }, message: /failed to find host device: interface "ens99" not found; this node has/ },
    { keys: { device: 'lo' }, message: /failed to move link "lo" into \S+ as "net1": .*: invalid argument/ },
    { keys: { hwaddr: '02:00:00:00:00:99' }, message: /no interface of this node has the hardware address 02:/ },
    {
      keys: { pciBusID: '0000:00:1e.0' },
      message: /failed to find host device: this node has no pci device 0000:00:1e\.0/,
    },
    { keys: { pciBusID: pci }, message: /pci device 0000:00:06\.0 has no network interface on this node/ },
    { keys: { runtimeConfig: { deviceID: 'a.sf.9' } }, message: /this node has no auxiliary device a\.sf\.9/ },
    {
      keys: { kernelpath: '/sys/devices/none' },
      message: /this node has no network interface at \/sys\/devices\/none\/net/,
    },
  ];
  for (const { keys, message, code = 999 } of refused) {
    test(`${JSON.stringify(keys)} is refused, and leaves nothing`, async () => {
      await using sysfs = await fakeSysfs([`bus/pci/devices/${pci}`]);
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const before = shown(await ip(undefined, 'link'));
      const network = config('host-device', { ...keys, ipam: addresses.ipam });
      await assert.rejects(
        sysfs.runner.add(network, attachment(pod.path)),
        (error) => error instanceof CniError && message.test(error.message) && error.code === code,
      );
      assert.deepEqual(shown(await ip(undefined, 'link')), before);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
      await sysfs.runner.delete(network, attachment(pod.path));
    });
  }

  const failing: readonly { readonly what: string; readonly ipam: JsonObject; readonly message: RegExp }[] = [
    {
      what: 'an address that nobody can give',
      ipam: { subnet: '10.1.2.0/30', rangeStart: '10.1.2.1', rangeEnd: '10.1.2.1' },
      message: /in use/,
    },
    {
      what: 'a route that the kernel refuses',
      ipam: { subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] },
      message: /unreachable/,
    },
  ];
  for (const { what, ipam, message } of failing) {
    test(`after ${what}, the device is on the node as it was`, async (t) => {
      const name = await device(t);
      await ip(undefined, 'link', 'set', name, 'alias', 'uplink of rack 7');
      await using addresses = await hostLocalAddresses(ipam);
      await using pod = await testNamespace();
      const before = await stateOf(name);
      const network = config('host-device', { device: name, ipam: addresses.ipam });
      await assert.rejects(runner.add(network, attachment(pod.path)), message);
      assert.deepEqual(await stateOf(name), before);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a name that is taken is refused, and the DEL that follows leaves alone what has it', async (t) => {
    const name = await device(t);
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await ip(pod.path, 'link', 'add', 'name', 'net1', 'type', 'ifb');
    const before = await stateOf(name);
    const network = config('host-device', { device: name, ipam: addresses.ipam });
    await assert.rejects(runner.add(network, attachment(pod.path)), /interface "net1" already exists in/);
    assert.deepEqual(await stateOf(name), before);
    await runner.delete(network, attachment(pod.path));
    assert.equal((await ip(pod.path, 'link', 'show', 'net1')).length, 1);
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('a name that is taken in the very moment of the move leaves the device on the node as it was', async (t) => {
    const name = await device(t);
    await using pod = await testNamespace();
    await ip(pod.path, 'link', 'add', 'name', 'net1', 'type', 'ifb');
    using node = openNode();
    using container = Container.open(attachment(pod.path));
    const before = await stateOf(name);
    const [link] = await node.netlink.run(links.get({ name }));
    await assert.rejects(moveIn(node, container, link, 'net1'), /failed to move link "hw\d+" into .*exists/);
    assert.deepEqual(await stateOf(name), before);
    assert.equal((await ip(pod.path, 'link')).length, 2);
  });

  test("a DEL does not take another network's device", async (t) => {
    const [name, other] = [await device(t), await device(t)];
    await using pod = await testNamespace();
    await runner.add(config('host-device', { device: other }), attachment(pod.path));
    await runner.delete(config('host-device', { device: name }), attachment(pod.path));
    assert.equal((await ip(pod.path, 'link', 'show', 'net1'))[0]?.['ifalias'], other);
  });

  test('a DEL releases the address when the namespace is gone, and when none is named', async (t) => {
    for (const netns of ['/run/netns/plx-none', '']) {
      const name = await device(t);
      await using addresses = await hostLocalAddresses();
      const pod = await testNamespace();
      const network = config('host-device', { device: name, ipam: addresses.ipam });
      await runner.add(network, attachment(pod.path));
      await pod[Symbol.asyncDispose]();
      await runner.delete(network, attachment(netns));
      assert.deepEqual(await addresses.reserved(), []);
    }
  });

  // The kernel puts hardware back so when its namespace ends; the devices of this test it would remove.
  for (const name of ['net1', 'dev17']) {
    test(`a device that came back as ${name} from a namespace that ended gets its name from DEL, or from the next ADD`, async (t) => {
      const own = await device(t);
      const comeBack = async (): Promise<void> => {
        await ip(undefined, 'link', 'set', own, 'down');
        await ip(undefined, 'link', 'set', own, 'name', name, 'alias', own);
      };
      const mac = String((await stateOf(own))?.['address']);
      for (const keys of [{ device: own }, { hwaddr: mac }]) {
        await comeBack();
        await runner.delete(config('host-device', keys), attachment('/run/netns/plx-none'));
        assert.equal((await stateOf(own))?.['alias'], undefined);
        assert.equal((await stateOf(own))?.['address'], mac);
      }
      for (const keys of [{ device: own }, { hwaddr: mac }]) {
        await comeBack();
        await using pod = await testNamespace();
        await runner.add(config('host-device', keys), attachment(pod.path));
        await runner.delete(config('host-device', keys), attachment(pod.path));
        assert.equal((await stateOf(own))?.['address'], mac);
      }
    });
  }

  test('a CHECK finds a lost interface', async (t) => {
    const name = await device(t);
    await using pod = await testNamespace();
    const network = config('host-device', { device: name });
    const checked = withResult(network, await runner.add(network, attachment(pod.path)));
    await runner.delete(network, attachment(pod.path));
    await assert.rejects(runner.check(checked, attachment(pod.path)), /interface "net1" not found/);
    await assert.rejects(runner.check(network, attachment(pod.path)), /Required prevResult missing/);
  });
});

let count = 0;

/** A veth of the node in the place of hardware; its other end has the same name with a p. */
async function device(t: { after(work: () => unknown): void }): Promise<string> {
  const name = `hw${count++}`;
  await addWire(name);
  t.after(() => ip(undefined, 'link', 'del', `${name}p`).catch(() => undefined));
  return name;
}

function dotted(mac: string): string {
  return mac.replaceAll(':', '').replaceAll(/....(?=.)/g, '$&.');
}

/** What an interface of the node is to those who use it; undefined where there is none. */
async function stateOf(name: string): Promise<JsonObject | undefined> {
  return shown(await ip(undefined, 'link')).find((link) => link['name'] === name);
}

function shown(links: readonly JsonObject[]): JsonObject[] {
  return links.map((link) => ({
    name: link['ifname'],
    address: link['address'],
    mtu: link['mtu'],
    alias: link['ifalias'],
    up: JSON.stringify(link['flags']).includes('"UP"'),
    kind: JSON.parse(JSON.stringify(link['linkinfo'] ?? {})).info_kind,
  }));
}

interface FakeSysfs extends AsyncDisposable {
  readonly root: string;
  /** Runs the plugin with this tree in the place of /sys. */
  readonly runner: Runner;
}

async function fakeSysfs(directories: readonly string[]): Promise<FakeSysfs> {
  const root = await mkdtemp(join(tmpdir(), 'plx-sysfs-'));
  for (const directory of directories) await mkdir(join(root, directory), { recursive: true });
  return {
    root,
    runner: new Runner({ builtin: [createHostDevice(root), hostLocal] }),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}
