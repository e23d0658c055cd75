import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { type Rule, rules } from '../../src/linux/rule.ts';
import { parsePrefix } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { ip } from './support.ts';

const own = [
  { family: 4, source: undefined, table: 255, priority: 0 },
  { family: 4, source: undefined, table: 254, priority: 32766 },
  { family: 4, source: undefined, table: 253, priority: 32767 },
  { family: 6, source: undefined, table: 255, priority: 0 },
  { family: 6, source: undefined, table: 254, priority: 32766 },
];

const cases: readonly {
  readonly title: string;
  readonly rule: Rule;
  readonly shown: Readonly<Record<string, unknown>>;
}[] = [
  {
    title: 'from one address, at the place that the kernel chooses',
    rule: { family: 4, source: parsePrefix('10.0.0.2/32'), table: 100 },
    shown: { priority: 32765, src: '10.0.0.2', table: '100' },
  },
  {
    title: 'from a prefix, to a table beyond 255',
    rule: { family: 4, source: parsePrefix('10.0.0.0/8'), table: 70_000, priority: 55 },
    shown: { priority: 55, src: '10.0.0.0', srclen: 8, table: '70000' },
  },
  {
    title: 'of IPv6',
    rule: { family: 6, source: parsePrefix('fd00::2/128'), table: 101, priority: 7 },
    shown: { priority: 7, src: 'fd00::2', table: '101' },
  },
  {
    title: 'for all',
    rule: { family: 4, table: 102, priority: 9 },
    shown: { priority: 9, src: 'all', table: '102' },
  },
];

for (const { title, rule, shown } of cases) {
  test(`a rule ${title} is added, told and deleted`, async () => {
    await using home = await testNamespace();
    using netlink = Rtnetlink.open(home.namespace);
    const [before] = await netlink.run(rules.list());
    assert.deepEqual(before, own);

    await netlink.run(rules.add(rule));
    const all = await ip(home.path, `-${rule.family}`, 'rule', 'show', 'table', `${rule.table}`);
    assert.deepEqual(all, [{ ...shown, protocol: 'unspec' }]);
    const [listed] = await netlink.run(rules.list());
    const added = { ...rule, source: rule.source, priority: rule.priority ?? 32765 };
    assert.deepEqual(
      listed.filter(({ table }) => table === rule.table),
      [added],
    );
    await assert.rejects(netlink.run(rules.add({ ...rule, priority: added.priority })), { code: 'EEXIST' });

    await netlink.run(rules.delete(rule));
    const [after] = await netlink.run(rules.list());
    assert.deepEqual(after, own);
    await assert.rejects(netlink.run(rules.delete(rule)), { code: 'ENOENT' });
  });
}
