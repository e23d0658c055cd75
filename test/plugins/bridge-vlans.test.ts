import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isAmong, portVlanChanges, trunkVlans } from '../../src/plugins/bridge/vlans.ts';

const one = (id: number) => ({ first: id, last: id });
const native = (id: number) => ({ ...one(id), pvid: true, untagged: true });

describe('the VLANs of a trunk', () => {
  const cases = [
    { title: 'none is no trunk', items: [], vlan: 0, expected: undefined },
    { title: 'an empty item is no trunk', items: [{}], vlan: 0, expected: undefined },
    { title: 'one', items: [{ id: 7 }], vlan: 0, expected: [one(7)] },
    { title: 'all from one to another', items: [{ minID: 2, maxID: 9 }], vlan: 0, expected: [{ first: 2, last: 9 }] },
    { title: 'both', items: [{ minID: 2, maxID: 4, id: 9 }], vlan: 0, expected: [{ first: 2, last: 4 }, one(9)] },
    {
      title: 'in order, without overlaps',
      items: [{ minID: 20, maxID: 30 }, { id: 31 }, { minID: 25, maxID: 28 }, { id: 3 }, { id: 3 }],
      vlan: 0,
      expected: [one(3), { first: 20, last: 31 }],
    },
    {
      title: 'all but the native one, which has no tag',
      items: [{ minID: 2, maxID: 9 }],
      vlan: 5,
      expected: [
        { first: 2, last: 4 },
        { first: 6, last: 9 },
      ],
    },
    {
      title: 'VLAN 1 is the native one where none is named',
      items: [{ minID: 1, maxID: 2 }],
      vlan: 0,
      expected: [one(2)],
    },
    {
      title: 'whatever lies within another, or beside it',
      items: [{ minID: 2, maxID: 4094 }, { minID: 10, maxID: 20 }, { id: 1 }],
      vlan: 4094,
      expected: [{ first: 1, last: 4093 }],
    },
    { title: 'a trunk of the native one alone is still one', items: [{ id: 1 }], vlan: 0, expected: [] },
  ];
  for (const { title, items, vlan, expected } of cases) {
    test(title, () => assert.deepEqual(trunkVlans(items, vlan), expected));
  }
});

describe('what a port is told', () => {
  const cases = [
    { title: 'nothing, without a VLAN', vlan: 0, trunk: undefined, defaultVlan: 1, expected: undefined },
    {
      title: 'to leave the default VLAN for another',
      vlan: 100,
      trunk: undefined,
      defaultVlan: 1,
      expected: { remove: [one(1)], add: [native(100)] },
    },
    {
      title: 'to stay in the default VLAN where that is the one',
      vlan: 1,
      trunk: undefined,
      defaultVlan: 1,
      expected: { remove: [], add: [native(1)] },
    },
    {
      title: 'to stay in the default VLAN where that is asked for',
      vlan: 100,
      trunk: undefined,
      defaultVlan: 1,
      preserveDefaultVlan: true,
      expected: { remove: [], add: [native(100)] },
    },
    {
      title: 'nothing of a default VLAN that there is not',
      vlan: 100,
      trunk: undefined,
      defaultVlan: 0,
      expected: { remove: [], add: [native(100)] },
    },
    {
      title: 'that the native VLAN of a trunk is 1, whatever the default is',
      vlan: 0,
      trunk: [one(7)],
      defaultVlan: 5,
      expected: { remove: [one(5)], add: [native(1), one(7)] },
    },
    {
      title: 'that the native VLAN of a trunk is the one named',
      vlan: 4,
      trunk: [one(7)],
      defaultVlan: 1,
      expected: { remove: [one(1)], add: [native(4), one(7)] },
    },
  ];
  for (const { title, vlan, trunk, defaultVlan, preserveDefaultVlan = false, expected } of cases) {
    test(title, () => assert.deepEqual(portVlanChanges({ vlan, trunk, preserveDefaultVlan }, defaultVlan), expected));
  }
});

test('a port is in VLANs where the kernel says so, in one range with others or alone, with or without tags', () => {
  const present = [native(4), { first: 7, last: 9, pvid: false, untagged: false }];
  for (const wanted of [native(4), one(8), { first: 7, last: 9 }]) assert.equal(isAmong(wanted, present), true);
  for (const wanted of [one(4), native(8), { first: 7, last: 10 }, { first: 6, last: 7 }, one(1)]) {
    assert.equal(isAmong(wanted, present), false);
  }
});
