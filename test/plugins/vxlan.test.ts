import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';

const run = promisify(execFile);

becomeNode();
before(async () => {
  await addWire('ens5');
  await addWire('ens6', 1400);
  for (const address of ['192.0.2.1/24', 'fd00:9::1/64']) await ip(undefined, 'address', 'add', address, 'dev', 'ens5');
  await ip(undefined, 'address', 'add', '198.51.100.1/24', 'dev', 'ens6');
});

const remotes = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];
const network = (keys: JsonObject = {}) => config('vxlan', { vni: 7, remotes, master: 'ens5', ...keys });

const namesOf = async (netns?: string) => (await ip(netns, 'link')).map(({ ifname }) => `${ifname}`).toSorted();

const deviceOf = async (vni = 7) => (await ip(undefined, 'link', 'show', `plxvx${vni}`))[0];

/** Where the node sends what is for everybody. */
async function remotesOf(vni = 7): Promise<string[]> {
  const { stdout } = await run('bridge', ['fdb', 'show', 'dev', `plxvx${vni}`]);
  return [...stdout.matchAll(/^00:00:00:00:00:00 dst (\S+)/gm)].flatMap(([, to]) => to ?? []).toSorted();
}

const statesOf = async (netns: string) => [await stateOf(undefined), await stateOf(netns)];

describe('vxlan', () => {
  test('an ADD makes bridge, device and interface, and its DEL takes all back, twice', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const before = await statesOf(pod.path);
    const told = network({ local: '192.0.2.0/24', ttl: 9, ipam: addresses.ipam, dns: { domain: 'example' } });
    const result = await runner.add(told, attachment(pod.path));
    const mac = async (netns: string | undefined, name: string) =>
      (await ip(netns, 'link', 'show', name))[0]?.['address'];
    const cable = result.interfaces[1]?.name ?? '';
    assert.deepEqual(result, {
      interfaces: [
        { name: 'plxbr7', mac: await mac(undefined, 'plxbr7') },
        { name: cable, mac: await mac(undefined, cable) },
        { name: 'net1', mac: await mac(pod.path, 'net1'), sandbox: pod.path },
        { name: 'plxvx7', mac: await mac(undefined, 'plxvx7') },
      ],
      ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 2 }],
      routes: [],
      dns: { domain: 'example' },
    });
    const device = await deviceOf();
    assert.equal(device?.['master'], 'plxbr7');
    assert.partialDeepStrictEqual(device?.['linkinfo'], {
      info_kind: 'vxlan',
      info_data: { id: 7, link: 'ens5', local: '192.0.2.1', port: 4789, ttl: 9, learning: true },
    });
    assert.deepEqual(await remotesOf(), ['192.0.2.2', '192.0.2.3']);
    for (const [netns, name] of [
      [undefined, 'plxvx7'],
      [undefined, 'plxbr7'],
      [undefined, cable],
      [pod.path, 'net1'],
    ] as const) {
      assert.equal((await ip(netns, 'link', 'show', name))[0]?.['mtu'], 1450, name);
    }
    await runner.check(withResult(told, result), attachment(pod.path));
    for (const _ of [1, 2]) await runner.delete(withResult(told, result), attachment(pod.path));
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), []);
  });

  const settings: readonly (readonly [what: string, keys: JsonObject, data: object, mtu: number])[] = [
    ['a group', { remotes: null, group: '239.1.1.1', learning: false }, { group: '239.1.1.1', learning: false }, 1450],
    ['a group of IPv6', { remotes: null, group: 'ff05::7' }, { group6: 'ff05::7' }, 1430],
    ['remotes of IPv6', { remotes: ['fd00:9::2'], local: 'fd00:9::1' }, { local6: 'fd00:9::1' }, 1430],
    ['another port, and an MTU', { dstport: 8472, mtu: 1280 }, { port: 8472 }, 1280],
    ['the master that has the address', { master: '', local: '198.51.100.0/24' }, { link: 'ens6' }, 1350],
    ['nobody to send to', { remotes: [] }, { id: 7 }, 1450],
    ['the largest number', { vni: 0xffffff }, { id: 0xffffff }, 1450],
  ];
  for (const [what, keys, data, mtu] of settings) {
    test(`with ${what}, the device is such`, async () => {
      await using pod = await testNamespace();
      const told = network(keys);
      const result = await runner.add(told, attachment(pod.path));
      const device = await deviceOf(Number(told['vni']));
      assert.partialDeepStrictEqual(device?.['linkinfo'], { info_data: data });
      assert.equal(device?.['mtu'], mtu);
      await runner.check(withResult(told, result), attachment(pod.path));
      await runner.delete(told, attachment(pod.path));
    });
  }

  test('without master and local, the interface of the default route is the master', async () => {
    await using pod = await testNamespace();
    await ip(undefined, 'route', 'add', 'default', 'via', '198.51.100.9');
    await runner.add(network({ master: '' }), attachment(pod.path));
    assert.partialDeepStrictEqual(await deviceOf(), { linkinfo: { info_data: { link: 'ens6' } }, mtu: 1350 });
    await ip(undefined, 'route', 'del', 'default');
    await runner.delete(network({ master: '' }), attachment(pod.path));
  });

  test('the MAC address is that of the configuration, CNI_ARGS or the runtime', async () => {
    for (const { keys, args, expected } of [
      { keys: { mac: '02:00:00:00:00:0A' }, args: '', expected: '02:00:00:00:00:0a' },
      { keys: { mac: '02:00:00:00:00:0a' }, args: 'MAC=02:00:00:00:00:0b', expected: '02:00:00:00:00:0b' },
      {
        keys: { runtimeConfig: { mac: '02:00:00:00:00:0c' } },
        args: 'MAC=02:00:00:00:00:0b',
        expected: '02:00:00:00:00:0c',
      },
    ]) {
      await using pod = await testNamespace();
      const { interfaces } = await runner.add(network(keys), attachment(pod.path, { args }));
      assert.equal(interfaces[2]?.mac, expected);
      await runner.delete(network(keys), attachment(pod.path, { args }));
    }
  });

  const refused: readonly {
    readonly what: string;
    readonly keys: JsonObject;
    readonly message: RegExp;
    readonly code?: number;
  }[] = [
    { what: 'no vni', keys: { vni: null }, message: /vni: expected a VXLAN network identifier .*, found nothing/ },
    {
      what: 'a vni of 25 bits',
      keys: { vni: 0x1000000 },
      message: /vni: expected .* from 0 to 16777215, found 16777216/,
    },
    { what: 'a negative vni', keys: { vni: -1 }, message: /vni: expected/ },
    { what: 'a vni that is no number', keys: { vni: '7' }, message: /vni: expected/ },
    {
      what: 'neither remotes nor group',
      keys: { remotes: null },
      message: /remotes: expected the addresses of the other nodes, or a group/,
    },
    { what: 'both', keys: { group: '239.1.1.1' }, message: /remotes: expected nothing beside a group/ },
    {
      what: 'a group that is a host',
      keys: { remotes: null, group: '192.0.2.9' },
      message: /group: expected a multicast address/,
    },
    {
      what: 'a group that is no address',
      keys: { remotes: null, group: 'all' },
      message: /group: expected .*an IP address/,
    },
    {
      what: 'a remote that is a group',
      keys: { remotes: ['239.1.1.1'] },
      message: /remotes\[0\]: expected the address of one host, found "239\.1\.1\.1"/,
    },
    {
      what: 'a remote that is everybody',
      keys: { remotes: ['192.0.2.2', '255.255.255.255'] },
      message: /remotes\[1\]: expected the address of one host/,
    },
    {
      what: 'a remote that is nobody',
      keys: { remotes: ['::'] },
      message: /remotes\[0\]: expected the address of one host/,
    },
    { what: 'a remote by name', keys: { remotes: ['node-2'] }, message: /remotes\[0\]: expected an IP address/ },
    {
      what: 'remotes of both families',
      keys: { remotes: ['192.0.2.2', 'fd00:9::2'] },
      message: /remotes\[1\]: expected addresses of one family/,
    },
    {
      what: 'remotes that are no list',
      keys: { remotes: '192.0.2.2' },
      message: /remotes: expected a list of addresses/,
    },
    {
      what: 'a local address of the other family',
      keys: { local: 'fd00:9::1' },
      message: /local: expected an address of the same family, IPv4, as remotes/,
    },
    {
      what: 'a local address of another node',
      keys: { local: '192.0.2.9' },
      message: /local: 192\.0\.2\.9 is no address of its interface ens5, which has 192\.0\.2\.1\/24/,
    },
    {
      what: 'a prefix of another network',
      keys: { local: '10.0.0.0/8', master: '' },
      message: /local: 10\.0\.0\.0\/8 is no address of this node, which has /,
    },
    {
      what: 'a local that is no address',
      keys: { local: 'eth0' },
      message: /local: expected .*an address of the node/,
    },
    {
      what: 'a master that does not exist',
      keys: { master: 'ens9' },
      message: /^master "ens9" not found; this node has/,
    },
    { what: 'no master and no default route', keys: { master: '' }, message: /^no default route interface found/ },
    { what: 'port 0', keys: { dstport: 0 }, message: /dstport: expected a UDP port from 1 to 65535, found 0/ },
    { what: 'a port of 17 bits', keys: { dstport: 65_536 }, message: /dstport: expected a UDP port/ },
    { what: 'a ttl of nine bits', keys: { ttl: 256 }, message: /ttl: expected a number from 0 to 255/ },
    { what: 'learning by number', keys: { learning: 1 }, message: /learning: expected true or false/ },
    { what: 'an MTU that does not fit', keys: { mtu: 1451 }, message: /invalid MTU 1451, must be \[0, 1450\]/ },
    { what: 'a negative MTU', keys: { mtu: -1 }, message: /mtu: expected at least 0/ },
    { what: "an MTU below the kernel's", keys: { mtu: 67 }, message: /mtu|MTU|invalid argument/, code: 999 },
    { what: 'a MAC address that is none', keys: { mac: '02:00' }, message: /mac: expected a MAC address/ },
    {
      what: 'a route that the kernel refuses',
      keys: {
        ipam: {
          type: 'static',
          addresses: [{ address: '10.1.2.5/24' }],
          routes: [{ dst: '10.9.0.0/16', gw: '198.18.0.1' }],
        },
      },
      message: /network is unreachable/,
      code: 999,
    },
  ];
  for (const { what, keys, message, code = 7 } of refused) {
    test(`${what} is refused, and leaves nothing`, async () => {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const before = await statesOf(pod.path);
      await assert.rejects(
        runner.add(network({ ipam: addresses.ipam, ...keys }), attachment(pod.path)),
        (error) => error instanceof CniError && message.test(error.message) && error.code === code,
      );
      assert.deepEqual(await statesOf(pod.path), before);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a name that is taken is refused, and what the network has stays', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await runner.add(network({ ipam: addresses.ipam }), attachment(pod.path));
    const before = await statesOf(pod.path);
    const second = attachment(pod.path, { containerId: 'c2' });
    await assert.rejects(runner.add(network({ ipam: addresses.ipam }), second), /interface "net1" already exists in/);
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
    await runner.delete(network({ ipam: addresses.ipam }), attachment(pod.path));
  });

  test('remotes become those of the last ADD; a CHECK misses those that are not there', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    const first = await runner.add(network(), attachment(one.path));
    await runner.add(network({ remotes: ['192.0.2.4', '192.0.2.2'] }), attachment(two.path, { containerId: 'c2' }));
    assert.deepEqual(await remotesOf(), ['192.0.2.2', '192.0.2.4']);
    await assert.rejects(
      runner.check(withResult(network(), first), attachment(one.path)),
      /VXLAN device plxvx7 has no entry for 192\.0\.2\.3/,
    );
    // With a list that has nobody but this node, nobody is sent anything.
    await using three = await testNamespace();
    await runner.add(network({ remotes: ['192.0.2.1'] }), attachment(three.path, { containerId: 'c3' }));
    assert.deepEqual(await remotesOf(), []);
    for (const [pod, containerId] of [
      [one, 'c1'],
      [two, 'c2'],
      [three, 'c3'],
    ] as const) {
      await runner.delete(network(), attachment(pod.path, { containerId }));
    }
    assert.ok(!(await namesOf()).includes('plxbr7'));
  });

  test('other settings are refused while pods use the device, and taken once none does', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    await runner.add(network(), attachment(one.path));
    const other = network({ dstport: 8472, ttl: 5, name: 'other' });
    await assert.rejects(runner.add(other, attachment(two.path, { containerId: 'c2' })), {
      code: 7,
      message: 'network "other": VXLAN device plxvx7 has dstport 4789 instead of 8472, ttl 0 instead of 5',
    });
    assert.equal((await namesOf(two.path)).length, 1);
    // What a crash may leave: a tunnel without a pod.
    await ip(one.path, 'link', 'del', 'net1');
    await runner.add(other, attachment(two.path, { containerId: 'c2' }));
    assert.partialDeepStrictEqual(await deviceOf(), { linkinfo: { info_data: { port: 8472, ttl: 5 } } });
    await runner.delete(other, attachment(two.path, { containerId: 'c2' }));
  });

  test('a network of larger packets widens the tunnel that is there', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    await runner.add(network({ mtu: 1300 }), attachment(one.path));
    await runner.add(network(), attachment(two.path, { containerId: 'c2' }));
    for (const name of ['plxvx7', 'plxbr7']) {
      assert.equal((await ip(undefined, 'link', 'show', name))[0]?.['mtu'], 1450, name);
    }
    for (const [pod, containerId] of [
      [one, 'c1'],
      [two, 'c2'],
    ] as const) {
      await runner.delete(network(), attachment(pod.path, { containerId }));
    }
  });

  test('a VNI that another program has is refused with a hint', async () => {
    await using pod = await testNamespace();
    await ip(undefined, 'link', 'add', 'flannel.7', 'type', 'vxlan', 'id', '7', 'dstport', '4789', 'dev', 'ens5');
    const before = await statesOf(pod.path);
    await assert.rejects(
      runner.add(network(), attachment(pod.path)),
      (error) =>
        error instanceof CniError &&
        /^failed to create vxlan "plxvx7"/.test(error.message) &&
        /VNI 7/.test(error.details),
    );
    assert.deepEqual(await statesOf(pod.path), before);
    await ip(undefined, 'link', 'del', 'flannel.7');
  });

  test('names that are taken by other interfaces are refused, and those stay', async () => {
    for (const name of ['plxbr7', 'plxvx7']) {
      await using pod = await testNamespace();
      await ip(undefined, 'link', 'add', name, 'type', 'ifb');
      const before = await statesOf(pod.path);
      await assert.rejects(runner.add(network(), attachment(pod.path)), /already exists but is not a (bridge|VXLAN)/);
      assert.deepEqual(await statesOf(pod.path), before);
      await ip(undefined, 'link', 'del', name);
    }
  });

  test('pods that come and go at once find their network, and the last one removes it', async () => {
    await using addresses = await hostLocalAddresses();
    const told = network({ ipam: addresses.ipam });
    const before = await namesOf();
    const life = async (number: number): Promise<void> => {
      for (const round of [1, 2, 3]) {
        await using pod = await testNamespace();
        const place = attachment(pod.path, { containerId: `c${number}-${round}` });
        const result = await runner.add(told, place);
        await runner.check(withResult(told, result), place);
        await runner.delete(withResult(told, result), place);
      }
    };
    await Promise.all([1, 2, 3, 4, 5].map(life));
    assert.deepEqual(await namesOf(), before);
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('an ADD that fails beside one that does not leaves it its network', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    const wrong = network({
      ipam: {
        type: 'static',
        addresses: [{ address: '10.1.2.5/24' }],
        routes: [{ dst: '10.9.0.0/16', gw: '198.18.0.1' }],
      },
    });
    const [good, bad] = await Promise.allSettled([
      runner.add(network(), attachment(one.path)),
      runner.add(wrong, attachment(two.path, { containerId: 'c2' })),
    ]);
    assert.deepEqual([good.status, bad.status], ['fulfilled', 'rejected']);
    assert.ok(good.status === 'fulfilled');
    await runner.check(withResult(network(), good.value), attachment(one.path));
    await runner.delete(network(), attachment(one.path));
    assert.ok(!(await namesOf()).includes('plxbr7'));
  });

  test('of two networks of one VNI and other settings that are added at once, one at least is refused', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    const networks = [network(), network({ dstport: 8472 })] as const;
    const outcomes = await Promise.allSettled([
      runner.add(networks[0], attachment(one.path)),
      runner.add(networks[1], attachment(two.path, { containerId: 'c2' })),
    ]);
    assert.ok(outcomes.some(({ status }) => status === 'rejected'));
    for (const [index, [pod, containerId]] of (
      [
        [one, 'c1'],
        [two, 'c2'],
      ] as const
    ).entries()) {
      const [outcome, told] = [outcomes[index], networks[index]];
      assert.ok(outcome && told);
      const place = attachment(pod.path, { containerId });
      if (outcome.status === 'fulfilled') await runner.check(withResult(told, outcome.value), place);
      else assert.match(String(outcome.reason), /has taken VNI 7 meanwhile|has dstport \d+ instead of/);
      await runner.delete(told, place);
    }
    assert.ok(!(await namesOf()).includes('plxbr7'));
  });

  test('a DEL without the namespace, the result and the keys releases all the same', async () => {
    for (const { netns, keys, hasResult } of [
      { netns: '', keys: {}, hasResult: false },
      { netns: '/run/netns/plx-none', keys: { remotes: 'wrong', group: 5 }, hasResult: false },
      { netns: '', keys: { vni: 'wrong' }, hasResult: true },
    ]) {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const before = await namesOf();
      const told = network({ ipam: addresses.ipam });
      const result = await runner.add(told, attachment(pod.path));
      const broken = { ...told, ...keys };
      for (const _ of [1, 2]) await runner.delete(hasResult ? withResult(broken, result) : broken, attachment(netns));
      assert.deepEqual(await namesOf(), before);
      assert.deepEqual(await addresses.reserved(), []);
    }
  });

  test('a CHECK finds the device down, gone and of other settings, and the cable off its bridge', async () => {
    await using pod = await testNamespace();
    const checked = withResult(network(), await runner.add(network(), attachment(pod.path)));
    const check = () => runner.check(checked, attachment(pod.path));
    await check();
    await assert.rejects(runner.check({ ...checked, ttl: 7 }, attachment(pod.path)), /has ttl 0 instead of 7/);
    await ip(undefined, 'link', 'set', 'plxvx7', 'down');
    await assert.rejects(check, /plxvx7 is down/);
    await ip(undefined, 'link', 'set', 'plxvx7', 'up');
    const [cable] = (await ip(undefined, 'link', 'show', 'type', 'veth')).filter(({ master }) => master === 'plxbr7');
    await ip(undefined, 'link', 'set', `${cable?.['ifname']}`, 'nomaster');
    await assert.rejects(check, /the other end of net1 is no port of bridge plxbr7/);
    await ip(undefined, 'link', 'del', 'plxvx7');
    await assert.rejects(check, /VXLAN device plxvx7 not found/);
    await ip(undefined, 'link', 'del', 'plxbr7');
    await assert.rejects(check, /bridge plxbr7 not found/);
    await runner.delete(network(), attachment(pod.path));
  });

  test('a GC removes the tunnels that no pod uses, and only those', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    await runner.add(network(), attachment(one.path));
    await runner.add(network({ vni: 8 }), attachment(two.path, { containerId: 'c2' }));
    await ip(two.path, 'link', 'del', 'net1');
    const valid = [{ containerID: 'c1', ifname: 'net1' }];
    await runner.gc({ ...network(), 'cni.dev/valid-attachments': valid }, []);
    const names = (await namesOf()).filter((name) => name.startsWith('plx'));
    assert.deepEqual(names, ['plxbr7', 'plxvx7']);
    await runner.delete(network(), attachment(one.path));
  });
});
