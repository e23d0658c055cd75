import assert from 'node:assert/strict';
import { readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import koffi from 'koffi';
import { addresses } from '../../src/linux/address.ts';
import { close, socket } from '../../src/linux/libc.ts';
import { links } from '../../src/linux/link.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { encodeMessage, NLMSG_ERROR } from '../../src/linux/netlink/message.ts';
import { routes } from '../../src/linux/route.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { formatPrefix, fromBigInt, hostPrefix, parsePrefix, toBigInt } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ip, openFiles } from './support.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;

/** So many addresses in a row, from 10.0.0.1 on. */
const someAddresses = (count: number) =>
  Array.from({ length: count }, (_, i) =>
    hostPrefix(fromBigInt(4, toBigInt(parsePrefix('10.0.0.1/8').ip) + BigInt(i))),
  );

test('requests that are more than the kernel could queue answers for are all answered, in order', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const all = someAddresses(1000);
  const added = await netlink.settle(...all.map((address) => addresses.add({ index: 1, address })));
  assert.equal(added.length, all.length);
  assert.ok(added.every(({ ok }) => ok));
  const found = await netlink.run(...all.map(() => links.get({ name: 'lo' })));
  assert.ok(found.every(({ index }) => index === 1));
  const mixed = await netlink.settle(
    ...all.flatMap((address, i) => {
      const selector = { index: 1, address };
      return i % 2 === 0 ? addresses.delete(selector) : addresses.add(selector);
    }),
  );
  assert.deepEqual(
    mixed.map((outcome) => (outcome.ok ? '' : outcome.error.code)),
    all.map((_, i) => (i % 2 === 0 ? '' : 'EEXIST')),
  );
});

test('a list that comes in many datagrams is whole', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const all = someAddresses(3000);
  await netlink.run(...all.map((address) => addresses.add({ index: 1, address })));
  const [list] = await netlink.run(addresses.list());
  assert.deepEqual(
    list.map(({ address }) => formatPrefix(address)),
    all.map(formatPrefix),
  );
});

test('dumps among changes stand where they were asked for, and see what came before them', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const [one = assert.fail(), two = assert.fail()] = someAddresses(2);
  const [, before, , after, link] = await netlink.run(
    addresses.add({ index: 1, address: one }),
    addresses.list(),
    addresses.add({ index: 1, address: two }),
    addresses.list(),
    links.get({ index: 1 }),
  );
  assert.deepEqual([before.length, after.length, link.name], [1, 2, 'lo']);
  assert.deepEqual(await netlink.run(), []);
});

test('lists taken while interfaces come and go have each that stays exactly once', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  using other = Rtnetlink.open(home.namespace);
  const staying = Array.from({ length: 60 }, (_, i) => `stay${i}`);
  await netlink.run(
    ...staying.map((name) => links.create({ name, kind: { type: 'veth', peer: { name: `${name}p` } } })),
  );
  let listing = true;
  const churn = (async () => {
    for (let i = 0; listing; i++) {
      await other.run(links.create({ name: `go${i}`, kind: { type: 'ifb' } }), links.delete({ name: `go${i}` }));
    }
  })();
  let whole = 0;
  for (let i = 0; i < 20; i++) {
    const [outcome] = await netlink.settle(links.list());
    if (outcome?.ok === false) {
      assert.equal(outcome.error.code, 'EINTR');
      continue;
    }
    whole++;
    const names = outcome?.value.map(({ name }) => name) ?? [];
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual(
      staying.filter((name) => !names.includes(name)),
      [],
    );
  }
  listing = false;
  await churn;
  assert.ok(whole > 0);
});

test('many sockets at once, more than there are threads or calls of the library, all come to their end', async () => {
  await using home = await testNamespace();
  const before = openFiles();
  const [address = assert.fail()] = someAddresses(1);
  const ended = await Promise.all(
    Array.from({ length: 400 }, async (_, i) => {
      using netlink = Rtnetlink.open(home.namespace);
      const [outcome] = await netlink.settle(addresses.add({ index: 1, address }));
      const [list] = await netlink.run(i % 2 ? addresses.list({ index: 1 }) : routes.list({ family: 4 }));
      return [outcome?.ok === true, list.length > 0 || i % 2 === 0];
    }),
  );
  assert.equal(ended.filter(([added]) => added).length, 1);
  assert.ok(ended.every(([, listed]) => listed));
  await new Promise(setImmediate);
  assert.deepEqual(openFiles(), before);
});

test('no file stays open: sockets, namespaces, failures, and disposal in use', async () => {
  await using home = await testNamespace();
  const before = openFiles();
  for (let i = 0; i < 20; i++) {
    using namespace = NetworkNamespace.open(home.path);
    const netlink = Rtnetlink.open(namespace);
    await assert.rejects(netlink.run(links.get({ name: 'none' }), links.list(), links.delete({ index: 99 })));
    const begun = netlink.run(links.list(), addresses.list());
    netlink[Symbol.dispose]();
    netlink[Symbol.dispose]();
    await begun.catch(() => {});
    assert.throws(() => NetworkNamespace.open('/dev/null'));
    assert.throws(() => NetworkNamespace.open('/proc/self/ns/uts'));
    assert.throws(() => Rtnetlink.open(NetworkNamespace.open(`${home.path}-none`)));
  }
  await new Promise(setImmediate);
  assert.deepEqual(openFiles(), before);
});

test('a socket works in its own namespace, whatever becomes of the namespace object, its name and the thread', async () => {
  const home = await testNamespace();
  const host = readlinkSync('/proc/thread-self/ns/net');
  using netlink = Rtnetlink.open(home.namespace);
  await create(netlink, 'net1', { type: 'ifb' });
  await home[Symbol.asyncDispose]();
  const [list] = await netlink.run(links.list());
  assert.deepEqual(
    list.map(({ name }) => name),
    ['lo', 'net1'],
  );
  assert.equal(readlinkSync('/proc/thread-self/ns/net'), host);
});

test('messages of other processes are no answers, and do not keep the answers out', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  await netlink.run(links.get({ index: 1 }));
  const port = home.namespace.run(() => portOfOnlySocket());
  const fd = home.namespace.run(() => socket(AF_NETLINK, SOCK_RAW, 0));
  try {
    // An acknowledgement of what was not done, for each of the sequence numbers that come next.
    for (let sequence = 1; sequence < 40; sequence++) {
      const payload = Buffer.alloc(20);
      payload.writeInt32LE(-17);
      forge(fd, port, encodeMessage({ type: NLMSG_ERROR, flags: 0, sequence, payload }));
    }
    const [made] = await netlink.settle(links.create({ name: 'net1', kind: { type: 'ifb' } }));
    assert.ok(made?.ok);
    assert.equal((await ip(home.path, 'link', 'show', 'dev', 'net1')).length, 1);
  } finally {
    close(fd);
  }
});

test('a queue that others filled is an error once, and the socket works again after', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  await netlink.run(links.get({ index: 1 }));
  const port = home.namespace.run(() => portOfOnlySocket());
  const fd = home.namespace.run(() => socket(AF_NETLINK, SOCK_RAW, 0));
  try {
    while (forge(fd, port, Buffer.alloc(4096)) >= 0);
    const answers: string[] = [];
    for (let i = 0; i < 3; i++) {
      const [end] = await netlink.settle(links.get({ index: 1 })).catch((error: unknown) => [{ ok: false, error }]);
      answers.push(end?.ok ? 'answered' : String(end?.error));
    }
    assert.deepEqual(answers.slice(1), ['answered', 'answered'], answers.join('; '));
    assert.match(answers[0] ?? '', /answered|no buffer space available/);
  } finally {
    close(fd);
  }
});

test('a request that the kernel cannot take in is an error with its errno, and nothing was done', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const huge = { ...links.get({ index: 1 }), payload: Buffer.alloc(8 << 20) };
  await assert.rejects(netlink.run(huge), {
    name: 'KernelError',
    code: 'EMSGSIZE',
    message: 'look up interface number 1: message too long (send to the kernel)',
  });
  const [link] = await netlink.run(links.get({ index: 1 }));
  assert.equal(link.name, 'lo');
});

/** The netlink port of the one socket of NETLINK_ROUTE in this namespace that is not the kernel's. */
function portOfOnlySocket(): number {
  const [, ...lines] = readFileSync('/proc/thread-self/net/netlink', 'utf8').trim().split('\n');
  const ports = lines.flatMap((line) => {
    const [, protocol, port] = line.trim().split(/\s+/);
    return protocol === '0' && port !== '0' ? [Number(port)] : [];
  });
  assert.equal(ports.length, 1);
  return ports[0] ?? 0;
}

const MSG_DONTWAIT = 0x40;
const sendto = koffi
  .load(null)
  .func('int64_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t size)');

/** Sends to another process' netlink socket. */
function forge(fd: number, port: number, data: Buffer): number {
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK);
  address.writeUInt32LE(port, 4);
  return sendto(fd, data, data.length, MSG_DONTWAIT, address, address.length);
}
