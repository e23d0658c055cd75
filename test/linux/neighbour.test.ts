import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neighbours } from '../../src/linux/neighbour.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { parseIP } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ip, ipChange } from './support.ts';

for (const text of ['169.254.1.1', 'fe80::1']) {
  test(`a permanent neighbour ${text} is what iproute2 sees, and what is read back`, async () => {
    await using home = await testNamespace();
    using netlink = Rtnetlink.open(home.namespace);
    const { index } = await create(netlink, 'net1', { type: 'veth', peer: { name: 'net1p' } });
    const address = parseIP(text);
    await netlink.run(neighbours.set({ index, ip: address, mac: '02:00:00:00:00:01' }));
    await netlink.run(neighbours.set({ index, ip: address, mac: '02:00:00:00:00:AA' }));
    assert.deepEqual(await ip(home.path, 'neighbour', 'show', 'dev', 'net1'), [
      { dst: text, lladdr: '02:00:00:00:00:aa', state: ['PERMANENT'] },
    ]);
    const expected = { index, ip: address, mac: '02:00:00:00:00:aa', permanent: true };
    for (const filter of [{ index }, { family: address.family }, { index, family: address.family }]) {
      const [list] = await netlink.run(neighbours.list(filter));
      assert.deepEqual(
        list.filter((neighbour) => neighbour.index === index),
        [expected],
      );
    }
    const other = address.family === 4 ? 6 : 4;
    const [of, elsewhere] = await netlink.run(neighbours.list({ index, family: other }), neighbours.list({ index: 1 }));
    assert.deepEqual([of, elsewhere.filter(({ permanent }) => permanent)], [[], []]);
    const [removed] = await netlink.settle(neighbours.delete({ index, ip: address }));
    assert.ok(removed?.ok);
    await assert.rejects(netlink.run(neighbours.delete({ index, ip: parseIP('10.9.9.9') })), {
      code: 'ENOENT',
      message: 'delete neighbour 10.9.9.9: no such file or directory',
    });
  });
}

test('a neighbour that was learned is not permanent', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const { index } = await create(netlink, 'net1', { type: 'veth', peer: { name: 'net1p' } });
  await ipChange(
    home.path,
    'neighbour',
    'add',
    '10.0.0.9',
    'lladdr',
    '02:00:00:00:00:09',
    'dev',
    'net1',
    'nud',
    'stale',
  );
  const [list] = await netlink.run(neighbours.list({ index, family: 4 }));
  assert.deepEqual(list, [{ index, ip: parseIP('10.0.0.9'), mac: '02:00:00:00:00:09', permanent: false }]);
});
