import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { Runner } from '../../src/cni/runner.ts';
import { hostLocal } from '../../src/plugins/host-local.ts';
import { parseSriov } from '../../src/plugins/sriov/config.ts';
import { type SavedState, StateFiles } from '../../src/plugins/sriov/state.ts';
import { createSriov } from '../../src/plugins/sriov.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, withResult } from './support.ts';

/* Without SR-IOV hardware; test/vm/guest/sriov.test.ts has some. */

becomeNode();

const device = '0000:03:02.1';
const parse = (keys: JsonObject, args = '') =>
  parseSriov({ config: config('sriov', keys), attachment: attachment('/run/netns/none', { args }) });

const state: SavedState = {
  network: 'test-net',
  deviceId: device,
  master: 'ens1f0',
  number: 1,
  hostName: 'ens1f0v1',
  alias: 'uplink of rack 7',
  mac: 'ca:fe:c0:ff:ee:09',
  mtu: 9000,
  isUp: true,
  attributes: {
    mac: '00:00:00:00:00:00',
    vlan: { id: 12, qos: 2, protocol: 0x88a8 },
    rate: { min: 10, max: 20 },
    spoofCheck: true,
    trust: false,
    linkState: 'enable',
  },
};

describe('the configuration of sriov', () => {
  const read: readonly { readonly keys: JsonObject; readonly args?: string; readonly wanted: object }[] = [
    { keys: {}, wanted: {} },
    { keys: { vlan: 0 }, wanted: { vlan: { id: 0, qos: 0, protocol: 0x8100 } } },
    { keys: { vlan: 7, vlanQoS: 3 }, wanted: { vlan: { id: 7, qos: 3, protocol: 0x8100 } } },
    { keys: { vlan: 7, vlanProto: '802.1AD' }, wanted: { vlan: { id: 7, qos: 0, protocol: 0x88a8 } } },
    { keys: { VLAN: 7, vlanproto: '', vlanQoS: null }, wanted: { vlan: { id: 7, qos: 0, protocol: 0x8100 } } },
    { keys: { max_tx_rate: 200 }, wanted: { rate: { min: 0, max: 200 } } },
    { keys: { min_tx_rate: 100, max_tx_rate: 0 }, wanted: { rate: { min: 100, max: 0 } } },
    { keys: { spoofchk: 'off', trust: 'on' }, wanted: { spoofCheck: false, trust: true } },
    { keys: { spoofchk: '', trust: '', link_state: '', mac: '' }, wanted: {} },
    { keys: { link_state: 'disable' }, wanted: { linkState: 'disable' } },
    { keys: { mac: 'CA:FE:C0:FF:EE:00' }, wanted: { mac: 'ca:fe:c0:ff:ee:00' } },
    { keys: { mac: 'ca:fe:c0:ff:ee:00' }, args: 'MAC=ca:fe:c0:ff:ee:01', wanted: { mac: 'ca:fe:c0:ff:ee:01' } },
    {
      keys: { runtimeConfig: { mac: 'ca:fe:c0:ff:ee:02' } },
      args: 'MAC=ca:fe:c0:ff:ee:01',
      wanted: { mac: 'ca:fe:c0:ff:ee:02' },
    },
  ];
  for (const { keys, args, wanted } of read) {
    test(`${JSON.stringify(keys)}${args ? ` with ${args}` : ''} asks for ${JSON.stringify(wanted)}`, () => {
      const { attributes } = parse({ deviceID: device, ...keys }, args);
      assert.deepEqual(JSON.parse(JSON.stringify(attributes)), wanted);
    });
  }

  test('the device that a device plugin chose goes before that of the configuration', () => {
    assert.equal(parse({ deviceID: device, runtimeConfig: { deviceID: '0000:03:02.7' } }).deviceId, '0000:03:02.7');
    assert.equal(parse({ deviceID: '0000:AF:02.7', runtimeConfig: {} }).deviceId, '0000:af:02.7');
  });

  const refused: readonly { readonly keys: JsonObject; readonly message: RegExp }[] = [
    {
      keys: { deviceID: '' },
      message: /^network "test-net": deviceID: expected the PCI address of a virtual function/,
    },
    ...['../../../etc', '0000:03:02.1/..', 'mlx5_core.sf.2', '*'].map((deviceID) => ({
      keys: { deviceID },
      message: /deviceID: expected the PCI address of a virtual function, such as 0000:03:02\.1, found/,
    })),
    { keys: { vlan: 4095 }, message: /vlan: expected at most 4094, found 4095/ },
    { keys: { vlan: -1 }, message: /vlan: expected at least 0, found -1/ },
    { keys: { vlan: '7' }, message: /vlan: expected a number, found "7"/ },
    { keys: { vlan: 7, vlanQoS: 8 }, message: /vlanQoS: expected at most 7, found 8/ },
    { keys: { vlanQoS: 1 }, message: /vlanQoS: is of a VLAN: give "vlan" too/ },
    { keys: { vlan: 0, vlanQoS: 1 }, message: /vlanQoS: without a VLAN \(vlan 0\) there is no priority/ },
    { keys: { vlanProto: '802.1q' }, message: /vlanProto: is of a VLAN: give "vlan" too/ },
    { keys: { vlan: 7, vlanProto: 'QinQ' }, message: /vlanProto: expected 802\.1q or 802\.1ad/ },
    { keys: { vlan: 0, vlanProto: '802.1ad' }, message: /vlanProto: without a VLAN \(vlan 0\) there is no 802\.1ad/ },
    { keys: { spoofchk: 'yes' }, message: /spoofchk: expected "on" or "off" or "", found "yes"/ },
    { keys: { trust: true }, message: /trust: expected "on" or "off" or "", found true/ },
    { keys: { link_state: 'up' }, message: /link_state: expected "auto" or "enable" or "disable" or "", found "up"/ },
    { keys: { max_tx_rate: -1 }, message: /max_tx_rate: expected a whole number of Mbit\/s; 0 for no limit, found -1/ },
    {
      keys: { min_tx_rate: 1.5 },
      message: /min_tx_rate: expected a whole number of Mbit\/s; 0 for no limit, found 1\.5/,
    },
    {
      keys: { min_tx_rate: 201, max_tx_rate: 200 },
      message: /min_tx_rate: expected at most max_tx_rate, 200, found 201/,
    },
    { keys: { mac: '02:00' }, message: /mac: expected a MAC address/ },
    { keys: { mtu: -1 }, message: /mtu: expected at least 0, found -1/ },
  ];
  for (const { keys, message } of refused) {
    test(`${JSON.stringify(keys)} is refused`, () => {
      assert.throws(
        () => parse({ deviceID: device, ...keys }),
        (error) => error instanceof CniError && error.code === 7 && message.test(error.message),
      );
    });
  }
});

describe('what sriov notes of a virtual function', () => {
  const call = { attachment: attachment('/run/netns/pod'), config: config('sriov', { ipam: { type: 'static' } }) };

  for (const changed of [state, { ...state, attributes: { vlan: { id: 0, qos: 0, protocol: 0x8100 } } }]) {
    test(`${Object.keys(changed.attributes)} are read as they were written, until they are removed`, async () => {
      await using noted = await stateFiles();
      await noted.files.keep(call, changed);
      assert.deepEqual(await noted.files.read(call.attachment), changed);
      assert.equal(await noted.files.holderOf(device), '/run/netns/pod');
      assert.deepEqual(
        (await noted.files.list()).map(({ id, state }) => [id, state]),
        [['c1-net1', changed]],
      );
      await noted.files.remove(call.attachment, device);
      assert.deepEqual(await readdir(noted.directory, { recursive: true }), ['pci']);
      assert.equal(await noted.files.read(call.attachment), undefined);
    });
  }

  test('the sriov-cni project finds in it what it restores by', async () => {
    await using noted = await stateFiles();
    await noted.files.keep(call, state);
    const file: JsonObject = JSON.parse(await readFile(join(noted.directory, 'c1-net1'), 'utf8'));
    const { OrigVfState, ...keys } = file;
    assert.deepEqual(keys, {
      cniVersion: '1.1.0',
      type: 'sriov',
      ipam: { type: 'static' },
      name: 'test-net',
      deviceID: device,
      DPDKMode: false,
      Master: 'ens1f0',
      VFID: 1,
      ContIFNames: 'net1',
      MAC: '00:00:00:00:00:00',
      vlan: 12,
      min_tx_rate: 10,
      max_tx_rate: 20,
      spoofchk: 'on',
      trust: 'off',
      link_state: 'enable',
    });
    assert.deepEqual(OrigVfState, {
      HostIFName: 'ens1f0v1',
      EffectiveMAC: 'ca:fe:c0:ff:ee:09',
      MTU: 9000,
      AdminMAC: '00:00:00:00:00:00',
      Vlan: 12,
      VlanQoS: 2,
      VlanProto: 0x88a8,
      MinTxRate: 10,
      MaxTxRate: 20,
      SpoofChk: true,
      Trust: false,
      Alias: 'uplink of rack 7',
      Up: true,
      LinkState: 1,
    });
  });

  for (const torn of ['', '{', '{}', '[]', '{"deviceID":"../../etc","OrigVfState":{}}']) {
    test(`a file that says ${JSON.stringify(torn)} says nothing`, async () => {
      await using noted = await stateFiles();
      await writeFile(join(noted.directory, 'c1-net1'), torn);
      assert.equal(await noted.files.read(call.attachment), undefined);
      assert.deepEqual(await noted.files.list(), []);
    });
  }
});

describe('sriov without hardware', () => {
  const others: readonly {
    readonly what: string;
    readonly links: Readonly<Record<string, string>>;
    readonly keys?: JsonObject;
    readonly message: RegExp;
  }[] = [
    { what: 'no such device', links: {}, message: /this node has no PCI device 0000:03:02\.1/ },
    {
      what: 'a VLAN of a device that is no virtual function',
      links: { [`bus/pci/devices/${device}/driver`]: 'bus/pci/drivers/ena' },
      message: /PCI device 0000:03:02\.1 is no virtual function, and can be given no vlan/,
    },
    {
      what: 'a device that has virtual functions',
      links: { [`bus/pci/devices/${device}/virtfn0`]: 'bus/pci/devices/0000:03:02.2' },
      message: /PCI device 0000:03:02\.1 has virtual functions, which need it on the node/,
    },
    {
      what: 'a device without a driver',
      links: { [`bus/pci/devices/${device}/subsystem`]: 'bus/pci' },
      keys: { vlan: null },
      message: /PCI device 0000:03:02\.1 has no interface on this node, and its driver is none/,
    },
    {
      what: 'a physical function without an interface',
      links: { [`bus/pci/devices/${device}/physfn`]: 'bus/pci/devices/0000:03:00.0' },
      message: /physical function 0000:03:00\.0 of 0000:03:02\.1 has no interface on this node/,
    },
    {
      what: 'a physical function whose interface has no virtual functions',
      links: {
        [`bus/pci/devices/${device}/physfn`]: 'bus/pci/devices/0000:03:00.0',
        'bus/pci/devices/0000:03:00.0/net/uplink': 'class/net/uplink',
      },
      message: /physical function 0000:03:00\.0 of 0000:03:02\.1 has no interface on this node/,
    },
  ];
  for (const { what, links, keys, message } of others) {
    test(`${what} is refused, and leaves nothing`, async () => {
      if (what.includes('has no virtual functions')) await addWire('uplink');
      await using noted = await stateFiles();
      const sysfs = join(noted.directory, 'sys');
      for (const [from, to] of Object.entries(links)) await link(sysfs, from, to);
      await mkdir(join(sysfs, 'bus/pci/devices/0000:03:00.0'), { recursive: true });
      await symlink(`../${device}`, join(sysfs, 'bus/pci/devices/0000:03:00.0/virtfn0'));
      const directory = join(noted.directory, 'state');
      const runner = new Runner({ builtin: [createSriov(sysfs, directory), hostLocal] });
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const network = config('sriov', { deviceID: device, vlan: 7, ...keys, ipam: addresses.ipam });
      await assert.rejects(runner.add(network, attachment(pod.path)), message);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
      await assert.rejects(readdir(directory), { code: 'ENOENT' });
      for (const _ of [1, 2]) await runner.delete(network, attachment(pod.path));
      await runner.delete(network, attachment('/run/netns/plx-none'));
    });
  }

  test('a whole card goes to a pod with another address, and comes back as it was, or stays so when the ADD fails', async () => {
    await addWire('ens6');
    await ip(undefined, 'link', 'set', 'ens6', 'alias', 'uplink of rack 7');
    await using noted = await stateFiles();
    const sysfs = join(noted.directory, 'sys');
    await link(sysfs, `bus/pci/devices/${device}/driver`, 'bus/pci/drivers/ena');
    await mkdir(join(sysfs, `bus/pci/devices/${device}/net/ens6`), { recursive: true });
    const runner = new Runner({ builtin: [createSriov(sysfs, join(noted.directory, 'state')), hostLocal] });
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const keys = { runtimeConfig: { deviceID: device }, mac: '02:00:5e:00:00:01', mtu: 1400 };
    const before = await ip(undefined, 'link', 'show', 'ens6');

    const routes = [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }];
    const impossible = config('sriov', { ...keys, ipam: { ...addresses.ipam, routes } });
    await assert.rejects(runner.add(impossible, attachment(pod.path)), /unreachable/);
    assert.deepEqual(shown(await ip(undefined, 'link', 'show', 'ens6')), shown(before));
    assert.deepEqual(await addresses.reserved(), []);

    const network = config('sriov', { ...keys, ipam: addresses.ipam });
    const result = await runner.add(network, attachment(pod.path));
    assert.deepEqual(result.interfaces, [{ name: 'net1', mac: keys.mac, mtu: 1400, sandbox: pod.path, pciID: device }]);
    const [inPod] = await ip(pod.path, 'address', 'show', 'net1');
    assert.match(JSON.stringify(inPod), /"mtu":1400,.*"address":"02:00:5e:00:00:01".*"local":"10\.1\.2\.\d"/);
    await runner.check(withResult(network, result), attachment(pod.path));
    for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
    const [after] = shown(await ip(undefined, 'link', 'show', 'ens6'));
    assert.deepEqual({ ...after, isUp: true }, shown(before)[0]);
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('a DEL whose device is gone from the node succeeds, and forgets it', async () => {
    await using noted = await stateFiles();
    const place = attachment('/run/netns/plx-none');
    const network = config('sriov', { deviceID: device });
    await noted.files.keep({ attachment: place, config: network }, state);
    const runner = new Runner({ builtin: [createSriov(join(noted.directory, 'sys'), noted.directory)] });
    await runner.delete(network, place);
    assert.deepEqual(await readdir(noted.directory, { recursive: true }), ['pci']);
  });
});

const shown = (links: readonly JsonObject[]) =>
  links.map(({ ifname, ifalias, address, mtu, flags }) => ({
    ...{ ifname, ifalias, address, mtu },
    isUp: JSON.stringify(flags).includes('"UP"'),
  }));

async function stateFiles() {
  const directory = await mkdtemp(join(tmpdir(), 'plx-test-'));
  return {
    directory,
    files: new StateFiles(directory),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

/** A symbolic link of sysfs; what it leads to is made. */
async function link(sysfs: string, from: string, to: string): Promise<void> {
  const path = join(sysfs, from);
  await mkdir(dirname(path), { recursive: true });
  await mkdir(join(sysfs, to), { recursive: true });
  await symlink(relative(dirname(path), join(sysfs, to)), path);
}
