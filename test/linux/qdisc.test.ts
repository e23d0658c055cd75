import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { z } from 'zod';
import {
  handle,
  htbClasses,
  ingressHandle,
  nanosecondsInTick,
  type QdiscKind,
  qdiscs,
  rootHandle,
} from '../../src/linux/qdisc.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { prefixKeys, trafficFilters } from '../../src/linux/traffic-filter.ts';
import { parsePrefix } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create } from './support.ts';

const execute = promisify(execFile);
const objects = z.array(z.looseObject({ kind: z.string().optional(), options: z.looseObject({}).optional() }));

/** What tc(8) says: the second opinion. */
async function tc(namespace: string, ...args: readonly string[]) {
  const { stdout } = await execute('nsenter', [`--net=${namespace}`, 'tc', '-j', '-d', ...args]);
  return objects.parse(JSON.parse(stdout || '[]'));
}

async function ifb() {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await testNamespace());
  const netlink = stack.use(Rtnetlink.open(home.namespace));
  const { index } = await create(netlink, 'ifb1', { type: 'ifb' });
  const owned = stack.move();
  return { path: home.path, netlink, index, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test('a tick is as long as the kernel says', async () => {
  // How many nanoseconds a microsecond has, and how many ticks (psched_show, sch_api.c).
  const [nanoseconds = 0, tick] = (await readFile('/proc/net/psched', 'utf8'))
    .split(' ')
    .map((word) => parseInt(word, 16));
  assert.deepEqual([nanoseconds, tick], [1000, nanosecondsInTick]);
});

const kinds: readonly { readonly kind: QdiscKind; readonly shown: Readonly<Record<string, unknown>> }[] = [
  {
    kind: { type: 'tbf', rate: 1_000_000, buffer: 1_562_500, limit: 125_000 },
    shown: { rate: 1_000_000, burst: '100000b/1', lat: 25_000 },
  },
  {
    kind: { type: 'tbf', rate: 12_500_000_000, buffer: 15_625, limit: 100_000_000 },
    shown: { rate: 12_500_000_000, burst: '12500000b/1' },
  },
  { kind: { type: 'htb', defaultClass: 0x30, directLength: 7 }, shown: { default: '0x30', direct_qlen: 7 } },
];

for (const { kind, shown } of kinds) {
  test(`a qdisc is added, told and deleted: ${JSON.stringify(kind)}`, async () => {
    await using home = await ifb();
    const { netlink, index, path } = home;
    const [before] = await netlink.run(qdiscs.get(index, 'root'));
    assert.equal(before?.data, undefined);
    await netlink.run(qdiscs.add({ index, kind }));
    const [own] = (await tc(path, 'qdisc', 'show', 'dev', 'ifb1')).filter((each) => each.kind === kind.type);
    const options = Object.entries(own?.options ?? {}).filter(([key]) => key in shown);
    assert.deepEqual(Object.fromEntries(options), shown);
    const [told] = await netlink.run(qdiscs.get(index, 'root'));
    assert.deepEqual(told, { handle: rootHandle, kind: kind.type, data: kind });
    await assert.rejects(netlink.run(qdiscs.add({ index, kind })), { code: 'EEXIST' });
    await netlink.run(qdiscs.delete(index, 'root'));
    const [after] = await netlink.run(qdiscs.get(index, 'root'));
    assert.equal(after?.data, undefined);
    await assert.rejects(netlink.run(qdiscs.delete(index, 'root')), { code: 'ENOENT' });
  });
}

test('a class has its rate, and a queue of its own', async () => {
  await using home = await ifb();
  const { netlink, index, path } = home;
  const id = handle(1, 0x30);
  await netlink.run(qdiscs.add({ index, kind: { type: 'htb', defaultClass: 0x30, directLength: 1 } }));
  await assert.rejects(netlink.run(htbClasses.get(index, id)), { code: 'ENOENT' });
  for (const rate of [2_000_000, 12_500_000_000]) {
    const own = { rate, buffer: 78_125 };
    const minor = rate === 2_000_000 ? 0x30 : 0x31;
    await netlink.run(htbClasses.add(index, handle(1, minor), own));
    const [told] = await netlink.run(htbClasses.get(index, handle(1, minor)));
    assert.deepEqual(told, own);
  }
  await netlink.run(qdiscs.add({ index, parent: id, kind: { type: 'bfifo', limit: 12_345 } }));
  const shown = (await tc(path, 'qdisc', 'show', 'dev', 'ifb1')).find((each) => each.kind === 'bfifo');
  assert.deepEqual([shown?.['parent'], shown?.options], ['1:30', { limit: 12_345 }]);
});

test('what an interface receives is led to another, and told so until that is gone', async () => {
  await using home = await ifb();
  const { netlink, index } = home;
  const { index: other } = await create(netlink, 'ifb2', { type: 'ifb' });
  await assert.rejects(netlink.run(qdiscs.get(index, 'ingress')), { code: 'ENOENT' });
  await netlink.run(
    qdiscs.add({ index, kind: { type: 'ingress' } }),
    trafficFilters.redirectAll(index, ingressHandle, other, handle(1, 1)),
  );
  const [qdisc, filters] = await netlink.run(qdiscs.get(index, 'ingress'), trafficFilters.list(index, ingressHandle));
  assert.deepEqual(qdisc, { handle: ingressHandle, kind: 'ingress', data: { type: 'ingress' } });
  assert.deepEqual(filters, [{ classId: handle(1, 1), keys: [], redirectTo: other }]);
  await execute('nsenter', [`--net=${home.path}`, 'ip', 'link', 'delete', 'ifb2']);
  const [left] = await netlink.run(trafficFilters.list(index, ingressHandle));
  assert.deepEqual(left, [{ classId: handle(1, 1), keys: [], redirectTo: 0 }]);
  await netlink.run(qdiscs.delete(index, 'ingress'));
  const [none] = await netlink.run(qdiscs.get(index, 'ingress'));
  assert.equal(none, undefined);
});

const prefixes = [
  { prefix: '10.0.0.0/8', side: 'destination', shown: ['match 0a000000/ff000000 at 16'] },
  { prefix: '192.168.77.9/20', side: 'source', shown: ['match c0a84000/fffff000 at 12'] },
  { prefix: '10.1.2.3/32', side: 'source', shown: ['match 0a010203/ffffffff at 12'] },
  { prefix: '0.0.0.0/0', side: 'source', shown: ['match 00000000/00000000 at 0'] },
  {
    prefix: 'fd00:1:2:3::/61',
    side: 'destination',
    shown: ['match fd000001/ffffffff at 24', 'match 00020000/fffffff8 at 28'],
  },
  {
    prefix: 'fd00::1/128',
    side: 'source',
    shown: ['fd000000 at 8', '00000000 at 12', '00000000 at 16', '00000001 at 20'].map((each) =>
      `match ${each}`.replace(' at', '/ffffffff at'),
    ),
  },
] as const;

for (const { prefix: text, side, shown } of prefixes) {
  test(`a filter for the ${side} ${text} looks at the bytes that it is in`, async () => {
    await using home = await ifb();
    const { netlink, index, path } = home;
    const prefix = parsePrefix(text);
    await netlink.run(
      qdiscs.add({ index, kind: { type: 'htb', defaultClass: 0, directLength: 1 } }),
      trafficFilters.classify(index, rootHandle, prefix, side, rootHandle),
    );
    const { stdout } = await execute('nsenter', [`--net=${path}`, 'tc', 'filter', 'show', 'dev', 'ifb1']);
    assert.deepEqual(stdout.match(/match .*/g), shown);
    const [told] = await netlink.run(trafficFilters.list(index, rootHandle));
    assert.deepEqual(told, [{ classId: rootHandle, keys: prefixKeys(prefix, side), redirectTo: undefined }]);
  });
}
