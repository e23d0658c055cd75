import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { addresses } from '../../src/linux/address.ts';
import { isLost } from '../../src/linux/datagram-socket.ts';
import { isKernelError } from '../../src/linux/errors.ts';
import { links } from '../../src/linux/link.ts';
import { LinkLocalSocket } from '../../src/linux/link-local-socket.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { parseIP, parsePrefix } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';

test('datagrams go between link-local addresses of a link, and a port is had once', async () => {
  await using space = await testNamespace();
  using netlink = Rtnetlink.open(space.namespace);
  await netlink.run(links.create({ name: 'left', kind: { type: 'veth', peer: { name: 'right' } } }));
  const ends = await netlink.run(links.get({ name: 'left' }), links.get({ name: 'right' }));
  for (const [place, { index }] of ends.entries()) {
    const address = parsePrefix(`fe80::${place + 1}/64`);
    await netlink.run(addresses.add({ index, address, scope: 253, noDad: true }), links.change(index, { up: true }));
  }
  const [left, right] = ends;
  const own = parseIP('fe80::1');
  using sender = LinkLocalSocket.open(space.namespace, left.index, own, 546);
  using receiver = LinkLocalSocket.open(space.namespace, right.index, parseIP('fe80::2'), 547);
  assert.equal(receiver.receive(), undefined);
  sender.send(Buffer.from('to one'), parseIP('fe80::2'), 547);
  for (let waited = 0; ; waited += 5) {
    const found = receiver.receive();
    if (found !== undefined) {
      assert.deepEqual([found.data.toString(), found.port], ['to one', 546]);
      break;
    }
    assert.ok(waited < 5_000, 'no datagram arrives');
    await sleep(5);
  }
  const again = (): unknown => LinkLocalSocket.open(space.namespace, left.index, own, 546);
  assert.throws(again, (error) => isKernelError(error, 'EADDRINUSE'));
  const foreign = (): unknown => LinkLocalSocket.open(space.namespace, left.index, parseIP('fe80::2'), 546);
  assert.throws(foreign, (error) => isKernelError(error, 'EADDRNOTAVAIL') && isLost(error));
  await netlink.run(links.delete({ name: 'left' }));
  assert.throws(() => sender.send(Buffer.from('lost'), parseIP('fe80::2'), 547), isLost);
  sender[Symbol.dispose]();
  assert.throws(() => sender.receive(), /is closed/);
});
