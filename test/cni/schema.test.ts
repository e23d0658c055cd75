import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { parsePluginConfig } from '../../src/cni/schema.ts';
import { netConfig, thrownBy } from './support.ts';

const prefix = z.string('expected a prefix').transform((text, context) => {
  if (text.includes('/')) return text;
  context.addIssue({ code: 'custom', message: 'expected a prefix such as 10.0.0.0/24' });
  return z.NEVER;
});

const range = z.object({ subnet: prefix, rangeStart: z.string().optional() });

const schema = z.object({
  master: z.string().default('eth0'),
  mode: z.enum(['l2', 'l3']).default('l2'),
  mtu: z.int().min(0).max(65_535).optional(),
  vlan: z.union([z.int(), z.string()]).optional(),
  ipam: z
    .object({ type: z.string(), ranges: z.array(z.array(range).min(1)).optional(), subnet: prefix.optional() })
    .optional(),
  runtimeConfig: z.object({ ips: z.array(z.string()).optional() }).default({}),
  labels: z.record(z.string(), z.object({ Value: z.string() })).optional(),
});

describe("a plugin's own keys", () => {
  const cases: readonly [string, Record<string, unknown>, Record<string, unknown>][] = [
    ['are given their defaults', {}, { master: 'eth0', mode: 'l2', runtimeConfig: {} }],
    [
      'match without regard to case, at every depth',
      { MASTER: 'ens6', IPAM: { Type: 'x', rangeS: 1, Ranges: [[{ SubNet: '10.0.0.0/24', rangestart: 'a' }]] } },
      {
        master: 'ens6',
        mode: 'l2',
        runtimeConfig: {},
        ipam: { type: 'x', ranges: [[{ subnet: '10.0.0.0/24', rangeStart: 'a' }]] },
      },
    ],
    [
      'take the last of several spellings',
      { master: 'a', Master: 'b' },
      { master: 'b', mode: 'l2', runtimeConfig: {} },
    ],
    [
      'are absent where they are null',
      { master: null, ipam: null, runtimeConfig: { IPs: null } },
      { master: 'eth0', mode: 'l2', runtimeConfig: {} },
    ],
    [
      'do not include the keys of a dictionary',
      { labels: { Foo: { value: '1' }, foo: { VALUE: '2' } } },
      { master: 'eth0', mode: 'l2', runtimeConfig: {}, labels: { Foo: { Value: '1' }, foo: { Value: '2' } } },
    ],
  ];
  for (const [name, config, expected] of cases) {
    test(name, () => assert.deepEqual(parsePluginConfig(schema, netConfig(config)), expected));
  }

  test('match through unions, preprocessing and intersections', () => {
    const layered = z.object({
      either: z.union([z.string(), z.object({ Inner: z.int() })]),
      before: z.preprocess((value) => value, z.object({ Inner: z.int() })),
      both: z.intersection(z.object({ Left: z.int() }), z.object({ Right: z.int() })),
      later: z.lazy(() => z.object({ Inner: z.int() })),
    });
    const config = netConfig({
      either: { inner: 1 },
      before: { INNER: 2 },
      both: { left: 3, right: 4 },
      later: { inner: 5 },
    });
    assert.deepEqual(parsePluginConfig(layered, config), {
      either: { Inner: 1 },
      before: { Inner: 2 },
      both: { Left: 3, Right: 4 },
      later: { Inner: 5 },
    });
  });

  test('keep a null where the schema wants one', () => {
    assert.deepEqual(parsePluginConfig(z.object({ x: z.int().nullable() }), netConfig({ X: null })), { x: null });
  });
});

describe('a wrong value is told with network, path, what was expected and what was found', () => {
  const cases: readonly [Record<string, unknown>, string][] = [
    [{ ipam: { type: 'x', subnet: 'abc' } }, 'ipam.subnet: expected a prefix such as 10.0.0.0/24, found "abc"'],
    [{ ipam: { type: 'x', SUBNET: 3 } }, 'ipam.subnet: expected a prefix, found 3'],
    [{ ipam: {} }, 'ipam.type: expected a string, found nothing'],
    [{ ipam: 'host-local' }, 'ipam: expected an object, found "host-local"'],
    [
      { ipam: { type: 'x', ranges: [[{ subnet: 'a/b' }], [{ subnet: 'c' }]] } },
      'ipam.ranges[1][0].subnet: expected a prefix such as 10.0.0.0/24, found "c"',
    ],
    [{ ipam: { type: 'x', ranges: [[]] } }, 'ipam.ranges[0]: expected at least 1 entry, found []'],
    [{ mode: 'l4' }, 'mode: expected "l2" or "l3", found "l4"'],
    [{ mtu: '9001' }, 'mtu: expected a number, found "9001"'],
    [{ mtu: 1.5 }, 'mtu: expected a whole number, found 1.5'],
    [{ mtu: 70_000 }, 'mtu: expected at most 65535, found 70000'],
    [{ mtu: -1 }, 'mtu: expected at least 0, found -1'],
    [{ vlan: true }, 'vlan: expected a number or a string, found true'],
    [{ mode: 'l4', mtu: -1 }, 'mode: expected "l2" or "l3", found "l4"; mtu: expected at least 0, found -1'],
    [{ master: ['x'.repeat(100)] }, `master: expected a string, found ["${'x'.repeat(58)}...`],
  ];
  for (const [config, expected] of cases) {
    test(expected, () => {
      const thrown = thrownBy(() => parsePluginConfig(schema, netConfig(config)));
      assert.deepEqual(thrown, [7, `network "n1": ${expected}`, '']);
    });
  }

  test('a rule over several keys says only its own words', () => {
    const both = z
      .object({ rate: z.int().optional(), burst: z.int().optional() })
      .refine(({ rate, burst }) => (rate === undefined) === (burst === undefined), 'rate and burst go together');
    const thrown = thrownBy(() => parsePluginConfig(both, netConfig({ rate: 1 })));
    assert.deepEqual(thrown, [7, 'network "n1": rate and burst go together', '']);
  });

  test('a hundred problems are not all told', () => {
    const many = z.object({ list: z.array(z.int()) });
    const [, message] = thrownBy(() => parsePluginConfig(many, netConfig({ list: Array(100).fill('x') })));
    assert.match(message, /list\[4\]: expected a number, found "x"; and 95 more$/);
  });
});
