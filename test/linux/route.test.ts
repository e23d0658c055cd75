import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addresses } from '../../src/linux/address.ts';
import { isKernelRoute, mainTable, type Route, routes, Scope } from '../../src/linux/route.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { formatIP, parseIP, parsePrefix } from '../../src/net/ip.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { create, ip, ipChange } from './support.ts';

/** A namespace with net1, which has addresses of both families. */
async function routed(home: TestNamespace): Promise<{ readonly netlink: Rtnetlink; readonly index: number }> {
  const netlink = Rtnetlink.open(home.namespace);
  const { index } = await create(netlink, 'net1', { type: 'ifb' });
  await netlink.run(
    addresses.add({ index, address: parsePrefix('10.0.0.2/24') }),
    addresses.add({ index, address: parsePrefix('fd00::2/64'), noDad: true }),
  );
  return { netlink, index };
}

const cases: readonly {
  readonly title: string;
  readonly route: Omit<Route, 'index'>;
  readonly shown: Readonly<Record<string, unknown>>;
}[] = [
  {
    title: 'a default route',
    route: { family: 4, gateway: parseIP('10.0.0.1') },
    shown: { dst: 'default', gateway: '10.0.0.1', protocol: 'boot', scope: 'global' },
  },
  {
    title: 'a default route of IPv6',
    route: { family: 6, gateway: parseIP('fd00::1') },
    shown: { dst: 'default', gateway: 'fd00::1', protocol: 'boot', metric: 1024 },
  },
  {
    title: 'a route on the link',
    route: { family: 4, destination: parsePrefix('169.254.1.1/32') },
    shown: { dst: '169.254.1.1', protocol: 'boot', scope: 'link' },
  },
  {
    title: 'a route on the link of IPv6',
    route: { family: 6, destination: parsePrefix('fd01::/64') },
    shown: { dst: 'fd01::/64', metric: 1024 },
  },
  {
    title: 'a gateway that no address reaches',
    route: { family: 4, gateway: parseIP('169.254.1.1'), onLink: true },
    shown: { dst: 'default', gateway: '169.254.1.1', flags: ['onlink'] },
  },
  {
    title: 'all that a route can be given',
    route: {
      family: 4,
      destination: parsePrefix('10.7.0.0/16'),
      gateway: parseIP('10.0.0.9'),
      source: parseIP('10.0.0.2'),
      table: 1234,
      priority: 55,
      mtu: 1400,
      advmss: 1360,
      protocol: 4,
    },
    shown: {
      dst: '10.7.0.0/16',
      gateway: '10.0.0.9',
      prefsrc: '10.0.0.2',
      table: '1234',
      metric: 55,
      protocol: 'static',
      metrics: [{ mtu: 1400, advmss: 1360 }],
    },
  },
  {
    title: 'IPv4 through a gateway of IPv6',
    route: { family: 4, destination: parsePrefix('10.8.0.0/16'), gateway: parseIP('fd00::9') },
    shown: { dst: '10.8.0.0/16', via: { family: 'inet6', host: 'fd00::9' } },
  },
  {
    title: 'a scope of its own',
    route: { family: 4, destination: parsePrefix('10.9.0.0/16'), scope: Scope.host },
    shown: { dst: '10.9.0.0/16', scope: 'host' },
  },
  {
    title: 'a table below 256',
    route: { family: 4, destination: parsePrefix('10.9.0.0/16'), table: 100 },
    shown: { dst: '10.9.0.0/16', table: '100' },
  },
];

for (const { title, route, shown } of cases) {
  test(`a route is what iproute2 sees, what is read back, and what can be deleted: ${title}`, async () => {
    await using home = await testNamespace();
    const { netlink, index } = await routed(home);
    using _ = netlink;
    const wanted = { ...route, index };
    const [before] = await netlink.run(routes.list());
    await netlink.run(routes.add(wanted));
    const show = [`-${route.family}`, 'route', 'show', 'table', 'all'];
    const seen = (await ip(home.path, ...show)).find(({ dst, type }) => dst === shown['dst'] && type === 'unicast');
    assert.partialDeepStrictEqual(seen, { dev: 'net1', ...shown });

    const table = route.table ?? mainTable;
    const [after] = await netlink.run(routes.list({ family: route.family, index, table }));
    const [added, ...others] = after.filter((each) => !before.some((one) => sameRoute(one, each)));
    assert.deepEqual(others, []);
    assert.partialDeepStrictEqual(added, { ...wanted, table });
    assert.ok(added && !isKernelRoute(added));
    await assert.rejects(netlink.run(routes.add(wanted)), { code: 'EEXIST' });
    await assert.rejects(netlink.run(routes.addExclusive(wanted)), { code: 'EEXIST' });
    await netlink.run(routes.replace(wanted));
    const [removed, missing] = await netlink.settle(routes.delete(added), routes.delete(added));
    assert.ok(removed?.ok);
    assert.ok(missing?.ok === false && missing.error.code === 'ESRCH');
    const [rest] = await netlink.run(routes.list());
    assert.equal(rest.length, before.length);
  });
}

const sameRoute = (a: Route, b: Route): boolean =>
  JSON.stringify([a.destination, a.gateway, a.table]) === JSON.stringify([b.destination, b.gateway, b.table]);

test('a route is deleted by as much as is known of it', async () => {
  await using home = await testNamespace();
  const { netlink, index } = await routed(home);
  using _ = netlink;
  const destination = parsePrefix('10.5.0.0/16');
  const gateway = parseIP('10.0.0.1');
  for (const known of [{}, { index }, { gateway }, { scope: undefined, protocol: undefined, table: undefined }]) {
    await netlink.run(
      routes.add({ family: 4, destination, gateway, index, protocol: 4 }),
      routes.delete({ family: 4, destination, ...known }),
    );
  }
  for (const scope of [Scope.universe, Scope.link, Scope.host]) {
    await netlink.run(routes.add({ family: 4, destination, index, scope }), routes.delete({ family: 4, destination }));
  }
});

test('two routes to one destination stand side by side where their ways or priorities differ, unless exclusive', async () => {
  await using home = await testNamespace();
  const { netlink, index } = await routed(home);
  using _ = netlink;
  const [one, two] = [parseIP('10.0.0.1'), parseIP('10.0.0.3')];
  const outcomes = await netlink.settle(
    routes.add({ family: 4, gateway: one, index }),
    routes.addExclusive({ family: 4, gateway: two, index }),
    routes.add({ family: 4, gateway: two, index }),
    routes.addExclusive({ family: 4, gateway: two, index, priority: 9 }),
    routes.replace({ family: 4, gateway: two, index, priority: 9, mtu: 1300 }),
  );
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.ok ? '' : outcome.error.code)),
    ['', 'EEXIST', '', '', ''],
  );
  const [list] = await netlink.run(routes.list({ family: 4, table: mainTable }));
  assert.equal(list.filter(({ destination }) => destination === undefined).length, 3);
});

test('of a route of IPv4 with several ways, the first is read; in IPv6, each way is a route, and can be deleted alone', async () => {
  await using home = await testNamespace();
  const { netlink, index } = await routed(home);
  using _ = netlink;
  const ways = (gateways: readonly string[]) =>
    gateways.flatMap((gateway) => ['nexthop', 'via', gateway, 'dev', 'net1', 'onlink']);
  await ipChange(home.path, 'route', 'add', '10.1.0.0/16', ...ways(['10.0.0.3', '192.0.2.4']));
  await ipChange(home.path, '-6', 'route', 'add', 'fd01::/64', ...ways(['fd00::3', 'fd00::4']));
  const [list] = await netlink.run(routes.list({ table: mainTable }));
  assert.partialDeepStrictEqual(
    list.find(({ destination }) => destination?.length === 16),
    { family: 4, gateway: parseIP('10.0.0.3'), index, onLink: true },
  );
  assert.partialDeepStrictEqual(
    list.filter(({ family, destination }) => family === 6 && destination?.ip.bytes[1] === 1),
    [
      { family: 6, gateway: parseIP('fd00::3'), index },
      { family: 6, gateway: parseIP('fd00::4'), index },
    ],
  );
  await netlink.run(...list.filter(({ gateway }) => gateway && formatIP(gateway) === 'fd00::4').map(routes.delete));
  const [left] = await netlink.run(routes.list({ family: 6, table: mainTable }));
  assert.deepEqual(
    left.flatMap(({ gateway }) => (gateway ? formatIP(gateway) : [])),
    ['fd00::3'],
  );
});

test("only unicast routes are listed, and the routes of addresses are known as the kernel's", async () => {
  await using home = await testNamespace();
  const { netlink, index } = await routed(home);
  using _ = netlink;
  await ipChange(home.path, 'route', 'add', 'blackhole', '10.66.0.0/16');
  await ipChange(home.path, 'route', 'add', 'unreachable', '10.67.0.0/16');
  const [list] = await netlink.run(routes.list({ family: 4 }));
  assert.deepEqual(
    list.map((route) => [route.destination, route.index, isKernelRoute(route), route.source]),
    [[parsePrefix('10.0.0.0/24'), index, true, parseIP('10.0.0.2')]],
  );
});

test('the way to an address is found by the interface that it leads through, or there is none', async () => {
  await using home = await testNamespace();
  const { netlink, index } = await routed(home);
  using _ = netlink;
  for (const address of ['10.0.0.9', 'fd00::9']) {
    assert.deepEqual(await netlink.run(routes.interfaceTowards(parseIP(address))), [index]);
  }
  await assert.rejects(netlink.run(routes.interfaceTowards(parseIP('192.0.2.1'))), {
    code: 'ENETUNREACH',
    operation: 'find the way to 192.0.2.1',
  });
});

test('addresses of another family are refused before the kernel could mistake them', () => {
  const [four, six] = [parseIP('10.0.0.1'), parseIP('fd00::1')];
  for (const route of [
    { family: 6, gateway: four },
    { family: 4, destination: { ip: six, length: 64 } },
    { family: 6, destination: { ip: four, length: 24 } },
    { family: 4, source: six },
    { family: 6, source: four },
  ] as const) {
    assert.throws(() => routes.add(route), /of IPv[46]/);
    assert.throws(() => routes.delete(route), /of IPv[46]/);
  }
});

test('an error names the route and the words of the kernel', async () => {
  await using home = await testNamespace();
  const { netlink, index } = await routed(home);
  using _ = netlink;
  const destination = parsePrefix('10.5.0.0/16');
  await assert.rejects(netlink.run(routes.add({ family: 4, destination, gateway: parseIP('192.0.2.1'), index })), {
    code: 'ENETUNREACH',
    operation: `add route 10.5.0.0/16 via 192.0.2.1 on interface number ${index}`,
    extack: 'Nexthop has invalid gateway',
  });
  await assert.rejects(netlink.run(routes.add({ family: 4, index: 99 })), {
    code: 'ENODEV',
    message: /^add route default/,
  });
});
