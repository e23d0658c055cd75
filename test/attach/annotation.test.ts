import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withElement, withoutElement } from '../../src/attach/annotation.ts';
import type { NetworkStatus } from '../../src/kubernetes/status.ts';

const status = (name: string, ifName: string, ips: readonly string[] = []): NetworkStatus => ({
  name,
  interface: ifName,
  ips,
  dns: {},
});
const eth0: NetworkStatus = { ...status('cluster-net', 'eth0'), default: true };

describe('an element is taken out of the annotation', () => {
  interface Case {
    readonly what: string;
    readonly annotation: string;
    readonly statuses?: readonly NetworkStatus[];
    readonly target: string;
    readonly networks: string | undefined;
    readonly ifName: string | undefined;
  }
  const cases: readonly Case[] = [
    {
      what: 'by the interface that it names',
      annotation: 'a@x, b',
      target: 'x',
      statuses: [status('default/a', 'x'), status('default/b', 'net1')],
      networks: 'b',
      ifName: 'x',
    },
    {
      what: 'by the interface that it was given',
      annotation: 'a,b',
      target: 'net2',
      statuses: [status('default/a', 'net1'), status('default/b', 'net2')],
      networks: 'a',
      ifName: 'net2',
    },
    {
      what: 'by its network',
      annotation: 'a,team/b@y',
      target: 'team/b',
      statuses: [status('default/a', 'net1'), status('team/b', 'y')],
      networks: 'a',
      ifName: 'y',
    },
    {
      what: 'though it was never attached',
      annotation: 'a,b',
      target: 'b',
      statuses: [status('default/a', 'net1')],
      networks: 'a',
      ifName: undefined,
    },
    {
      what: 'as the last one',
      annotation: 'a',
      target: 'a',
      statuses: [status('default/a', 'net1')],
      networks: undefined,
      ifName: 'net1',
    },
    {
      what: 'of several of one network, which keep the interfaces that they have',
      annotation: 'a,b,a,a@z',
      target: 'net1',
      statuses: [
        status('default/a', 'net1'),
        status('default/b', 'net2'),
        status('default/a', 'net3'),
        status('default/a', 'z'),
      ],
      networks: 'b,a@net3,a@z',
      ifName: 'net1',
    },
    {
      what: 'in JSON, with what nobody here knows left as it is',
      annotation: '[{"name":"a"},{"name":"a","ips":["10.0.0.7"],"x-more":{"y":[1]}}]',
      target: 'net1',
      statuses: [status('default/a', 'net1', ['10.0.0.2']), status('default/a', 'net2', ['10.0.0.7'])],
      networks: '[{"name":"a","ips":["10.0.0.7"],"x-more":{"y":[1]},"interface":"net2"}]',
      ifName: 'net1',
    },
    {
      what: 'in JSON, known by its addresses whatever the order',
      annotation: '[{"name":"a","ips":["10.0.0.7/24"]},{"name":"a"}]',
      target: 'net1',
      statuses: [status('default/a', 'net1', ['10.0.0.2']), status('default/a', 'net2', ['10.0.0.7'])],
      networks: '[{"name":"a","ips":["10.0.0.7/24"],"interface":"net2"}]',
      ifName: 'net1',
    },
  ];
  for (const { what, annotation, statuses = [], target, networks, ifName } of cases) {
    test(what, () => {
      const found = withoutElement(annotation, 'default', [eth0, ...statuses], target);
      assert.deepEqual([found.networks, found.ifName], [networks, ifName]);
    });
  }

  const statuses = [eth0, status('default/a', 'net1'), status('default/a', 'net2')];
  for (const [target, message] of [
    ['a', /^a names 2 of the networks .* it is one of: net1 \(default\/a\), net2 \(default\/a\)$/],
    ['eth0', /^eth0 is none of the networks/],
    ['net3', /^net3 is none of the networks/],
  ] as const) {
    test(`not by ${target}`, () => {
      assert.throws(() => withoutElement('a,a', 'default', statuses, target), { message });
    });
  }
  test('not where there is none', () => {
    assert.throws(() => withoutElement('', 'default', [eth0], 'a'), /it is one of: none at all$/);
  });
});

describe('an element is added to the annotation', () => {
  for (const [annotation, element, expected] of [
    ['', 'a', 'a'],
    ['a', 'b@x', 'a,b@x'],
    ['[]', 'b', '[{"name":"b","namespace":"default"}]'],
    [
      '[{"name":"a","x-more":1}]',
      'team/b@x',
      '[{"name":"a","x-more":1},{"name":"b","namespace":"team","interface":"x"}]',
    ],
  ] as const) {
    test(`${element} to "${annotation}"`, () => {
      assert.equal(withElement(annotation, 'default', element), expected);
    });
  }
  for (const element of ['', 'a/b/c', 'A', 'a@interface-number-1']) {
    test(`not "${element}"`, () => {
      assert.throws(() => withElement('a', 'default', element));
    });
  }
});
