import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLost } from '../../src/linux/datagram-socket.ts';
import { isKernelError } from '../../src/linux/errors.ts';
import { links } from '../../src/linux/link.ts';
import { broadcastMac, type Packet, PacketSocket } from '../../src/linux/packet-socket.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { encodeDatagram } from '../../src/plugins/dhcp/v4/datagram.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';

/** A datagram to a port, from nobody to everybody. */
function datagramTo(port: number, text: string): Buffer {
  const ip = (byte: number) => ({ family: 4, bytes: new Uint8Array(4).fill(byte) }) as const;
  return encodeDatagram({
    source: { ip: ip(0), port: 68 },
    destination: { ip: ip(255), port },
    payload: Buffer.from(text),
  });
}

/** Two ends of a wire in a namespace, up, without any address. */
async function addEnds({ namespace }: TestNamespace) {
  using netlink = Rtnetlink.open(namespace);
  await netlink.run(links.create({ name: 'left', kind: { type: 'veth', peer: { name: 'right' } } }));
  const ends = await netlink.run(links.get({ name: 'left' }), links.get({ name: 'right' }));
  for (const { index } of ends) await netlink.run(links.change(index, { up: true }));
  return ends;
}

async function received(socket: PacketSocket): Promise<Packet> {
  for (let waited = 0; waited < 5_000; waited += 5) {
    const packet = socket.receive();
    if (packet !== undefined) return packet;
    await sleep(5);
  }
  assert.fail('no packet arrives');
}

test('a packet to the port arrives on an interface without an address, with its sender; others do not', async () => {
  await using space = await testNamespace();
  const [left, right] = await addEnds(space);
  using sender = PacketSocket.open(space.namespace, left.index, 9);
  using receiver = PacketSocket.open(space.namespace, right.index, 67);
  assert.equal(receiver.receive(), undefined);
  sender.send(datagramTo(66, 'another port'), broadcastMac);
  const fragment = datagramTo(67, 'a later fragment');
  fragment.writeUInt16BE(1, 6);
  sender.send(fragment, broadcastMac);
  sender.send(datagramTo(67, 'for all'), broadcastMac);
  sender.send(datagramTo(67, 'for one'), right.mac);
  const texts = [await received(receiver), await received(receiver)].map(({ data, from }) => {
    assert.equal(from, left.mac);
    return data.subarray(28).toString();
  });
  assert.deepEqual(texts, ['for all', 'for one']);
  assert.equal(receiver.receive(), undefined);
});

test('an interface that is down, or is not there, is told apart from other failures', async () => {
  await using space = await testNamespace();
  const [left] = await addEnds(space);
  using sender = PacketSocket.open(space.namespace, left.index, 9);
  using netlink = Rtnetlink.open(space.namespace);
  await netlink.run(links.change(left.index, { up: false }));
  assert.throws(() => sender.send(datagramTo(67, 'lost'), broadcastMac), isLost);
  assert.throws(
    () => PacketSocket.open(space.namespace, 12_345, 9),
    (error) => isKernelError(error, 'ENODEV'),
  );
  sender[Symbol.dispose]();
  assert.throws(() => sender.receive(), /the socket is closed/);
});
