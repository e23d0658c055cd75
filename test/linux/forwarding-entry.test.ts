import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { forwardingEntries, toEverybody } from '../../src/linux/forwarding-entry.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { parseIP } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create } from './support.ts';

const execute = promisify(execFile);

const entriesOf = async (path: string) => {
  const { stdout } = await execute('nsenter', [`--net=${path}`, 'bridge', 'fdb', 'show', 'dev', 'vx0']);
  return stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => line.trim())
    .toSorted();
};

for (const [family, one, two] of [
  ['IPv4', '192.0.2.1', '192.0.2.2'],
  ['IPv6', 'fd00::1', 'fd00::2'],
] as const) {
  test(`entries to ${family} remotes are what iproute2 sees, and what is read back`, async () => {
    await using home = await testNamespace();
    using netlink = Rtnetlink.open(home.namespace);
    const group = family === 'IPv6' ? { group: parseIP('::') } : {};
    const { index } = await create(netlink, 'vx0', { type: 'vxlan', id: 7, port: 4789, ...group });
    const other = await create(netlink, 'vx1', { type: 'vxlan', id: 8, port: 4789, ...group });
    const [first, second] = [one, two].map((remote) => ({ index, mac: toEverybody, remote: parseIP(remote) }));
    assert.ok(first && second);
    const host = { index, mac: '02:00:00:00:00:01', remote: parseIP(two) };
    await netlink.run(...[first, second, second, host].map(forwardingEntries.append));
    assert.deepEqual(await entriesOf(home.path), [
      `00:00:00:00:00:00 dst ${one} self permanent`,
      `00:00:00:00:00:00 dst ${two} self permanent`,
      `02:00:00:00:00:01 dst ${two} self permanent`,
    ]);
    const [list, ofOther] = await netlink.run(forwardingEntries.list(index), forwardingEntries.list(other.index));
    const order = (entries: readonly object[]) => entries.map((entry) => JSON.stringify(entry)).toSorted();
    assert.deepEqual(order(list), order([first, second, host]));
    assert.deepEqual(ofOther, []);
    await netlink.run(forwardingEntries.delete(first));
    assert.equal((await entriesOf(home.path)).length, 2);
    await netlink.run(forwardingEntries.delete(first));
    await netlink.run(forwardingEntries.delete(second));
    await assert.rejects(netlink.run(forwardingEntries.delete(second)), {
      code: 'ENOENT',
      message: new RegExp(`^stop forwarding what is for everybody to ${two} on interface number ${index}: `),
    });
  });
}

test('entries of a bridge are none of a VXLAN device', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const bridge = await create(netlink, 'br0', { type: 'bridge' });
  const { index } = await create(netlink, 'vx0', { type: 'vxlan', id: 7, port: 4789 });
  await netlink.run(links.change(index, { master: bridge.index }));
  const [list] = await netlink.run(forwardingEntries.list(index));
  assert.deepEqual(list, []);
});
