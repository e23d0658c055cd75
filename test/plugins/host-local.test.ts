import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { parseArgs } from '../../src/cni/args.ts';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import type { NetworkCall, PluginCall, PluginRunner } from '../../src/cni/plugin.ts';
import { hostLocal } from '../../src/plugins/host-local.ts';

const network = 'net-a';

let dataDir: string;
const directory = (): string => join(dataDir, network);
const reserved = async (): Promise<string[]> =>
  (await readdir(directory())).filter((name) => /^[0-9a-f]+[.:]/.test(name));

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'plx-host-local-'));
});

afterEach(async () => {
  await rm(dataDir, { recursive: true });
});

const noPlugins: PluginRunner = {
  add: () => assert.fail('no other plugin is called'),
  delete: () => assert.fail('no other plugin is called'),
  check: () => assert.fail('no other plugin is called'),
  status: () => assert.fail('no other plugin is called'),
  gc: () => assert.fail('no other plugin is called'),
};

interface Options {
  readonly ifName?: string;
  readonly args?: string;
  readonly keys?: JsonObject;
}

function call(
  ipam: JsonObject,
  containerId = 'c1',
  { ifName = 'net1', args = '', keys = {} }: Options = {},
): PluginCall & NetworkCall {
  const type = 'macvlan';
  return {
    config: { cniVersion: '1.1.0', name: network, type, ipam: { type: 'host-local', dataDir, ...ipam }, ...keys },
    attachment: { containerId, ifName, netns: '/run/netns/none', args: parseArgs(args), path: [] },
    prevResult: undefined,
    path: [],
    plugins: noPlugins,
  };
}

const addresses = async (...parameters: Parameters<typeof call>): Promise<string[]> => {
  const { ips } = await hostLocal.add(call(...parameters));
  // Once the next call has the lock, the one before has marked its address.
  await hostLocal.check(call(...parameters));
  return ips.map(({ address }) => address);
};

const fails = async (message: RegExp, ...parameters: Parameters<typeof call>): Promise<void> => {
  const before = await readdir(dataDir, { recursive: true });
  await assert.rejects(hostLocal.add(call(...parameters)), { message });
  const left = (await readdir(dataDir, { recursive: true })).filter((name) => !before.includes(name));
  assert.deepEqual(
    left.filter((name) => name !== network && name !== join(network, 'lock')),
    [],
  );
};

describe('what an ADD returns', () => {
  test('an address from the subnet, its gateway, routes, and the dns of resolvConf', async () => {
    const resolvConf = join(dataDir, 'resolv.conf');
    await writeFile(
      resolvConf,
      '# nameserver 9.9.9.9\nnameserver 192.0.2.3\n nameserver\t192.0.2.4 \ndomain a\nsearch b c\noptions x:1\nsortlist z\nsearch\n',
    );
    const routes = [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9', mtu: 1400, table: 100 }];
    const result = await hostLocal.add(call({ subnet: '10.1.2.0/24', routes, resolvConf }));
    assert.deepEqual(JSON.parse(JSON.stringify(result)), {
      interfaces: [],
      ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1' }],
      routes,
      dns: { nameservers: ['192.0.2.3', '192.0.2.4'], domain: 'a', search: ['b', 'c'], options: ['x:1'] },
    });
  });

  test('keys match without regard to case, and null or empty counts as absent', async () => {
    const ipam = { Subnet: '10.1.2.0/24', RANGESTART: '10.1.2.9', gateway: '', rangeEnd: null, routes: null };
    assert.deepEqual(await addresses(ipam), ['10.1.2.9/24']);
  });

  test('one address from each range set; each set goes round on its own', async () => {
    const ranges = [
      [{ subnet: '10.1.2.0/24' }],
      [{ subnet: '2001:db8:1::/64', rangeStart: '2001:db8:1::10', gateway: '2001:db8:1::f' }],
    ];
    assert.deepEqual(await addresses({ ranges }, 'c1'), ['10.1.2.2/24', '2001:db8:1::10/64']);
    assert.deepEqual(await addresses({ ranges }, 'c2'), ['10.1.2.3/24', '2001:db8:1::11/64']);
    assert.deepEqual((await reserved()).sort(), ['10.1.2.2', '10.1.2.3', '2001:db8:1::10', '2001:db8:1::11']);
  });

  test('runtimeConfig.ipRanges come first, then the range of ipam itself, then ipam.ranges', async () => {
    const ipam = { subnet: '10.2.0.0/24', ranges: [[{ subnet: '10.3.0.0/24' }]] };
    const keys = { runtimeConfig: { ipRanges: [[{ subnet: '10.1.0.0/24' }]] } };
    assert.deepEqual(await addresses(ipam, 'c1', { keys }), ['10.1.0.2/24', '10.2.0.2/24', '10.3.0.2/24']);
  });

  test('a /29 yields .2 to .6 and then the error, which says how many are in use', async () => {
    const ipam = { subnet: '10.1.2.0/29' };
    for (const last of [2, 3, 4, 5, 6]) assert.deepEqual(await addresses(ipam, `c${last}`), [`10.1.2.${last}/29`]);
    await fails(
      /^failed to allocate for range 0: no IP addresses available in range set: 10\.1\.2\.1-10\.1\.2\.6 of network "net-a": 5 of 5 in use$/,
      ipam,
      'c7',
    );
  });

  test('two /30s of one set are used one after the other and wrap', async () => {
    const ipam = { ranges: [[{ subnet: '10.0.0.0/30' }, { subnet: '10.0.1.0/30' }]] };
    assert.deepEqual(await addresses(ipam, 'c1'), ['10.0.0.2/30']);
    assert.deepEqual(await addresses(ipam, 'c2'), ['10.0.1.2/30']);
    await fails(
      /no IP addresses available in range set: 10\.0\.0\.1-10\.0\.0\.2,10\.0\.1\.1-10\.0\.1\.2 .* 2 of 2 in use/,
      ipam,
      'c3',
    );
    await hostLocal.delete(call(ipam, 'c1'));
    assert.deepEqual(await addresses(ipam, 'c3'), ['10.0.0.2/30']);
  });

  test('an address that was just released is the last to be given away again', async () => {
    const ipam = { subnet: '10.1.2.0/29' };
    await addresses(ipam, 'c1');
    await hostLocal.delete(call(ipam, 'c1'));
    for (const last of [3, 4, 5, 6, 2]) assert.deepEqual(await addresses(ipam, `c${last}`), [`10.1.2.${last}/29`]);
  });

  test('two interfaces of one container get an address each; the same interface gets no second one', async () => {
    const ipam = { subnet: '10.1.2.0/24' };
    assert.deepEqual(await addresses(ipam, 'c1', { ifName: 'net1' }), ['10.1.2.2/24']);
    assert.deepEqual(await addresses(ipam, 'c1', { ifName: 'net2' }), ['10.1.2.3/24']);
    await fails(
      /^failed to allocate for range 0: 10\.1\.2\.2 has been allocated to c1, duplicate allocation is not allowed/,
      ipam,
    );
    await hostLocal.delete(call(ipam, 'c1', { ifName: 'net1' }));
    assert.deepEqual(await reserved(), ['10.1.2.3']);
  });
});

describe('requested addresses', () => {
  const ipam = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '2001:db8:1::/64' }]] };

  test('from CNI_ARGS, args.cni.ips and runtimeConfig.ips, with or without a prefix', async () => {
    assert.deepEqual(await addresses(ipam, 'c1', { args: 'IgnoreUnknown=1;K8S_POD_NAME=p;IP=10.1.2.88/24' }), [
      '10.1.2.88/24',
      '2001:db8:1::2/64',
    ]);
    const both = { args: { cni: { ips: ['2001:db8:1::9'] } }, runtimeConfig: { ips: ['10.1.2.77/16'] } };
    assert.deepEqual(await addresses(ipam, 'c2', { keys: both }), ['10.1.2.77/24', '2001:db8:1::9/64']);
    assert.deepEqual(await addresses(ipam, 'c3'), ['10.1.2.78/24', '2001:db8:1::a/64']);
  });

  test('the gateway, an address that is held, and one outside of every range are refused and leave nothing', async () => {
    const keys = (...ips: string[]): Options => ({ keys: { runtimeConfig: { ips } } });
    await fails(
      /^failed to allocate for range 0: requested ip 10\.1\.2\.1 is subnet's gateway$/,
      ipam,
      'c1',
      keys('10.1.2.1'),
    );
    await addresses(ipam, 'c1', keys('10.1.2.9'));
    await fails(
      /^failed to allocate for range 0: requested IP address 10\.1\.2\.9 is not available in range set 10\.1\.2\.1-10\.1\.2\.254: reserved by container c1, interface net1$/,
      ipam,
      'c2',
      keys('10.1.2.9'),
    );
    await fails(
      /^failed to allocate all requested IPs: 10\.9\.9\.9 10\.1\.2\.8 /,
      ipam,
      'c2',
      keys('10.1.2.7', '10.9.9.9', '10.1.2.8'),
    );
    await fails(
      /runtimeConfig\.ips\[0\]: expected an IP address .* found "10\.1\.2\.300"/,
      ipam,
      'c2',
      keys('10.1.2.300'),
    );
    await fails(/ARGS: unknown args \["FOO=1"\]/, ipam, 'c2', { args: 'FOO=1' });
    await fails(/CNI_ARGS: IP: invalid IP address x/, ipam, 'c2', { args: 'IP=x' });
    assert.deepEqual((await reserved()).sort(), ['10.1.2.9', '2001:db8:1::2']);
  });

  test('a failure in the second range set leaves nothing of the first', async () => {
    const keys = { runtimeConfig: { ips: ['2001:db8:1::1'] } };
    await fails(/^failed to allocate for range 1: requested ip 2001:db8:1::1 is subnet's gateway$/, ipam, 'c1', {
      keys,
    });
    assert.deepEqual(await reserved(), []);
  });
});

describe('configurations that are refused', () => {
  const cases: readonly (readonly [string, JsonObject, RegExp])[] = [
    ['no ranges', {}, /no IP ranges specified/],
    [
      'a subnet that is none',
      { subnet: '10.0.0/24' },
      /network "net-a": ipam\.subnet: expected .*, found "10\.0\.0\/24"/,
    ],
    ['a range of another form', { ranges: [{ subnet: '10.0.0.0/24' }] }, /ipam\.ranges\[0\]: expected a list/],
    [
      'a subnet too small',
      { subnet: '10.0.0.0/31' },
      /invalid range set 0: Network 10\.0\.0\.0\/31 too small to allocate from/,
    ],
    [
      'host bits',
      { subnet: '10.0.0.9/24' },
      /Network has host bits set\. For a subnet mask of length 24 the network address is 10\.0\.0\.0/,
    ],
    [
      'a start outside',
      { subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' },
      /RangeStart 10\.0\.1\.1 not in network 10\.0\.0\.0\/24/,
    ],
    [
      'an end outside',
      { subnet: '10.0.0.0/24', rangeEnd: '10.0.1.1' },
      /RangeEnd 10\.0\.1\.1 not in network 10\.0\.0\.0\/24/,
    ],
    [
      'an end before the start',
      { subnet: '10.0.0.0/24', rangeStart: '10.0.0.9', rangeEnd: '10.0.0.8' },
      /RangeEnd 10\.0\.0\.8 not in network/,
    ],
    [
      'a start of the other family',
      { subnet: '10.0.0.0/24', rangeStart: 'fd00::1' },
      /RangeStart fd00::1 not in network/,
    ],
    ['IPv4 mapped into IPv6', { subnet: '::ffff:10.0.0.0/120' }, /ipam\.subnet: .*found "::ffff:10\.0\.0\.0\/120"/],
    ['an empty set', { ranges: [[]] }, /invalid range set 0: empty range set/],
    [
      'mixed families',
      { ranges: [[{ subnet: '10.0.0.0/24' }, { subnet: 'fd00::/64' }]] },
      /invalid range set 0: mixed address families/,
    ],
    [
      'overlap in a set',
      { ranges: [[{ subnet: '10.0.0.0/24' }, { subnet: '10.0.0.128/25' }]] },
      /invalid range set 0: subnets .* and .* overlap/,
    ],
    [
      'overlap of sets',
      { ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.0.0.0/16' }]] },
      /range set 0 overlaps with 1/,
    ],
    [
      'a route without destination',
      { subnet: '10.0.0.0/24', routes: [{ gw: '10.0.0.1' }] },
      /ipam\.routes\[0\]\.dst: expected/,
    ],
    ['a relative dataDir', { subnet: '10.0.0.0/24', dataDir: 'var/lib' }, /ipam\.dataDir: expected an absolute path/],
    [
      'a dataDir that climbs',
      { subnet: '10.0.0.0/24', dataDir: '/var/lib/../../etc' },
      /ipam\.dataDir: expected an absolute path/,
    ],
    [
      'a resolvConf that is a device',
      { subnet: '10.0.0.0/24', resolvConf: '/dev/zero' },
      /resolvConf \/dev\/zero: expected a regular file/,
    ],
    [
      'a resolvConf that is missing',
      { subnet: '10.0.0.0/24', resolvConf: '/nowhere/resolv.conf' },
      /ENOENT.*\/nowhere\/resolv\.conf/,
    ],
  ];
  for (const [what, ipam, message] of cases) test(what, () => fails(message, ipam));

  test('no ipam at all', () => fails(/IPAM config missing 'ipam' key/, {}, 'c1', { keys: { ipam: null } }));

  test('two addresses of a family in a version that has no room for them', () =>
    fails(
      /CNI version 0\.2\.0 does not support more than 1 address per family/,
      {
        ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.0.1.0/24' }]],
      },
      'c1',
      { keys: { cniVersion: '0.2.0' } },
    ));

  test('a network name that is a path', async () => {
    for (const name of ['../net-a', '.', '..', 'a/b', 'a\0b', '']) {
      await fails(/network name/, { subnet: '10.0.0.0/24' }, 'c1', { keys: { name } });
    }
  });
});

describe('files', () => {
  const ipam = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '2001:db8:1::/64' }]] };

  test('are those of the original', async () => {
    await addresses(ipam, 'c1');
    const names = ['10.1.2.2', '2001:db8:1::2', 'last_reserved_ip.0', 'last_reserved_ip.1'];
    assert.equal(await readFile(join(directory(), '10.1.2.2'), 'utf8'), 'c1\r\nnet1');
    assert.equal(await readFile(join(directory(), '2001:db8:1::2'), 'utf8'), 'c1\r\nnet1');
    assert.equal(await readFile(join(directory(), 'last_reserved_ip.0'), 'utf8'), '10.1.2.2');
    assert.equal(await readFile(join(directory(), 'last_reserved_ip.1'), 'utf8'), '2001:db8:1::2');
    for (const name of names) assert.equal((await stat(join(directory(), name))).mode & 0o777, 0o600, name);
    assert.equal((await stat(join(directory(), 'lock'))).mode & 0o777, 0o750);
    assert.deepEqual((await readdir(directory())).sort(), [...names, 'lock'].sort());
  });

  test('that others wrote meanwhile are seen: reservations, releases, the last address', async () => {
    await addresses(ipam, 'c1');
    await writeFile(join(directory(), '10.1.2.3'), 'foreign\r\neth0');
    assert.deepEqual(await addresses(ipam, 'c2'), ['10.1.2.4/24', '2001:db8:1::3/64']);
    await rm(join(directory(), '10.1.2.2'));
    await rm(join(directory(), '2001:db8:1::2'));
    await assert.rejects(hostLocal.check(call(ipam, 'c1')), /Failed to find address added by container c1/);
    await writeFile(join(directory(), 'last_reserved_ip.0'), '10.1.2.99');
    await writeFile(join(directory(), '10.1.2.100'), 'foreign\r\neth1');
    assert.deepEqual(await addresses(ipam, 'c3'), ['10.1.2.101/24', '2001:db8:1::4/64']);
  });

  test('of an older version, without the interface, belong to the container', async () => {
    await mkdir(directory());
    await writeFile(join(directory(), '10.1.2.2'), 'c1');
    await hostLocal.check(call(ipam, 'c1', { ifName: 'eth5' }));
    await fails(/10\.1\.2\.2 has been allocated to c1/, ipam, 'c1');
    await hostLocal.delete(call(ipam, 'c1'));
    assert.deepEqual(await reserved(), []);
  });

  test('that are damaged, or that a person put there, keep their address and stop nobody', async () => {
    await mkdir(join(directory(), '10.1.2.2'), { recursive: true });
    await writeFile(join(directory(), '10.1.2.3'), '');
    await writeFile(join(directory(), 'last_reserved_ip.0'), '');
    await symlink('/nowhere', join(directory(), '10.1.2.4'));
    await writeFile(join(directory(), '010.001.002.005'), 'no name of an address');
    assert.deepEqual(await addresses(ipam, 'c1'), ['10.1.2.5/24', '2001:db8:1::2/64']);
  });

  test('of a removed directory are forgotten', async () => {
    await addresses(ipam, 'c1');
    await rm(directory(), { recursive: true });
    assert.deepEqual(await addresses(ipam, 'c1'), ['10.1.2.2/24', '2001:db8:1::2/64']);
  });

  test('that were made but not written belong to nobody', async () => {
    await mkdir(directory());
    await writeFile(join(directory(), '10.1.2.2'), '', { mode: 0o600 });
    assert.deepEqual(await addresses(ipam, 'c1'), ['10.1.2.2/24', '2001:db8:1::2/64']);
    assert.equal(await readFile(join(directory(), '10.1.2.2'), 'utf8'), 'c1\r\nnet1');
  });
});

describe('DEL, CHECK, STATUS and GC', () => {
  const ipam = { subnet: '10.1.2.0/24' };

  test('DEL of what was never added, twice, and without a directory succeeds and makes none', async () => {
    await hostLocal.delete(call(ipam, 'c1'));
    assert.deepEqual(await readdir(dataDir), []);
    await addresses(ipam, 'c1');
    await hostLocal.delete(call(ipam, 'c9'));
    await hostLocal.delete(call(ipam, 'c1'));
    await hostLocal.delete(call(ipam, 'c1'));
    assert.deepEqual(await reserved(), []);
  });

  test('DEL lets go although the ranges became invalid since', async () => {
    await addresses(ipam, 'c1');
    await hostLocal.delete(call({ subnet: 'nonsense', ranges: 7 }, 'c1'));
    assert.deepEqual(await reserved(), []);
  });

  test('CHECK finds the address, and says so when there is none', async () => {
    await assert.rejects(hostLocal.check(call(ipam, 'c1')), /host-local: Failed to find address added by container c1/);
    await addresses(ipam, 'c1');
    await hostLocal.check(call(ipam, 'c1'));
    await assert.rejects(hostLocal.check(call(ipam, 'c1', { ifName: 'net2' })), /Failed to find address/);
  });

  test('STATUS is good before the first ADD and in a full network, and bad where nothing can be written', async () => {
    await hostLocal.status?.(call(ipam));
    await writeFile(directory(), 'a file where the directory would be');
    await assert.rejects(
      async () => hostLocal.status?.(call({ ...ipam, dataDir: join(directory(), 'deeper') })),
      (thrown) => thrown instanceof CniError && thrown.code === 50 && /ENOTDIR/.test(thrown.message),
    );
  });

  test('GC releases what belongs to no valid attachment', async () => {
    const ranges = [[ipam], [{ subnet: 'fd00::/64' }]];
    for (const id of ['c1', 'c2', 'c3']) await addresses({ ranges }, id);
    await writeFile(join(directory(), '10.1.2.50'), 'c1');
    await writeFile(join(directory(), '10.1.2.51'), 'c4');
    const valid = [
      { containerID: 'c1', ifname: 'net1' },
      { containerID: 'c2', ifname: 'net2' },
    ];
    await hostLocal.gc?.(call({ ranges }, '', { keys: { 'cni.dev/valid-attachments': valid } }));
    assert.deepEqual((await reserved()).sort(), ['10.1.2.2', '10.1.2.50', 'fd00::2']);
  });

  test('GC without a list of valid attachments is refused and releases nothing', async () => {
    await addresses(ipam, 'c1');
    await assert.rejects(async () => hostLocal.gc?.(call(ipam)), /cni\.dev\/valid-attachments: expected a list/);
    assert.deepEqual(await reserved(), ['10.1.2.2']);
  });
});

describe('at the same time', () => {
  const ipam = { ranges: [[{ subnet: '10.1.0.0/23' }], [{ subnet: 'fd00::/64' }]] };

  test('a hundred ADDs and DELs in one process give every address once', async () => {
    const ids = Array.from({ length: 100 }, (_, index) => `c${index}`);
    const all = (await Promise.all(ids.map((id) => addresses(ipam, id)))).flat();
    assert.equal(new Set(all).size, 200);
    await Promise.all(ids.map((id) => hostLocal.delete(call(ipam, id))));
    assert.deepEqual(await reserved(), []);
  });

  test('an ADD waits while another process has the lock', async () => {
    await addresses(ipam, 'c1');
    const script = 'echo locked; read -r line; printf "foreign\\r\\neth0" > "$1/10.1.0.3"; echo written';
    const holder = spawn('flock', [join(directory(), 'lock'), 'sh', '-c', script, 'sh', directory()], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const order: string[] = [];
    holder.stdout.once('data', () => order.push('the other process wrote'));
    const adding = addresses(ipam, 'c2').then((ips) => {
      order.push('the ADD returned');
      return ips;
    });
    holder.stdin.end('\n');
    assert.deepEqual(await adding, ['10.1.0.4/23', 'fd00::3/64']);
    assert.deepEqual(order, ['the other process wrote', 'the ADD returned']);
  });
});
