import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { bySettled, difference, freeName } from '../../src/attach/difference.ts';
import { type NetworkSelection, parseNetworks } from '../../src/attach/selection.ts';
import { decodeEntry, type Entry, encodeLine, type PlannedAttachment, type Step } from '../../src/journal/entry.ts';
import { entryOf } from '../journal/entries.ts';

const parse = (networks: string): NetworkSelection[] => parseNetworks(networks, 'default');

const attachmentOf = (ifName: string, selection: NetworkSelection): PlannedAttachment => ({
  network: `${selection.namespace}/${selection.name}`,
  ifName,
  isDefault: false,
  config: '{}',
  defaultName: '',
  source: 'the test',
  runtimeConfig: {},
  cniArgs: {},
  selection: { ...selection },
});

/** A pod with eth0, audit of every pod's as net1, and what is given: interface, and the element that asked for it. */
function entryWith(attached: readonly (readonly [ifName: string, element: string])[], ...more: Step[]): Entry {
  const [{ ...plain }] = entryOf().plan.attachments;
  const own = attached.map(([ifName, element]) => attachmentOf(ifName, parse(element)[0] ?? fail()));
  const attachments = [plain, { ...plain, network: 'kube-system/audit', ifName: 'net1', isDefault: false }, ...own];
  const steps: Step[] = attachments.map(({ ifName }) => ({ step: 'added', ifName, result: {} }));
  const lines = [...steps, { step: 'complete' } as const, ...more].map(encodeLine);
  return decodeEntry(encodeLine({ ...entryOf().plan, attachments }) + lines.join(''));
}

const fail = (): never => assert.fail('expected an element');

describe('the difference between what an annotation asks for and what is there', () => {
  interface Case {
    readonly what: string;
    readonly attached: readonly (readonly [ifName: string, element: string])[];
    readonly steps?: readonly Step[];
    readonly wanted: string;
    readonly detach?: readonly string[];
    /** Network and name of the interface; a question mark where that is left to us. */
    readonly attach?: readonly string[];
    readonly unheld?: readonly string[];
  }
  const cases: readonly Case[] = [
    { what: 'nothing of nothing', attached: [], wanted: '' },
    {
      what: 'what every pod has is not of the annotation',
      attached: [],
      wanted: 'kube-system/audit',
      attach: ['audit ?'],
    },
    { what: 'in the same words', attached: [['net2', 'a']], wanted: 'a' },
    { what: 'in another form', attached: [['net2', 'a']], wanted: '[{"name":"a","namespace":"default"}]' },
    { what: 'with the name that we gave', attached: [['net2', 'a']], wanted: 'a@net2' },
    { what: 'without the name that it asked for', attached: [['data0', 'a@data0']], wanted: 'a' },
    {
      what: 'with another name',
      attached: [['net2', 'a']],
      wanted: 'a@data0',
      detach: ['net2'],
      attach: ['a data0'],
    },
    {
      what: 'of another namespace',
      attached: [['net2', 'a']],
      wanted: 'team/a',
      detach: ['net2'],
      attach: ['a ?'],
    },
    {
      what: 'another network under the same name',
      attached: [['x', 'a@x']],
      wanted: 'b@x',
      detach: ['x'],
      attach: ['b x'],
    },
    {
      what: 'in other words, under the name that it has',
      attached: [['net2', 'a']],
      wanted: '[{"name":"a","mac":"02:00:00:00:00:01"}]',
      detach: ['net2'],
      attach: ['a net2'],
    },
    {
      what: 'of several of one network, the last ones go',
      attached: [
        ['net2', 'a'],
        ['net3', 'a'],
        ['net4', 'a'],
      ],
      wanted: 'a,a',
      detach: ['net4'],
    },
    {
      what: 'of several of one network, the one that is named stays',
      attached: [
        ['net2', 'a'],
        ['net3', 'a'],
      ],
      wanted: 'a@net3',
      detach: ['net2'],
    },
    {
      what: 'of several of one network, those in the same words stay',
      attached: [
        ['net2', '[{"name":"a","ips":["10.0.0.1"]}]'],
        ['net3', '[{"name":"a","ips":["10.0.0.2"]}]'],
      ],
      wanted: '[{"name":"a","ips":["10.0.0.2"]}]',
      detach: ['net2'],
    },
    {
      what: 'what was being attached goes before it comes again',
      attached: [],
      steps: [{ step: 'planned', attachment: attachmentOf('net2', parse('a')[0] ?? fail()) }],
      wanted: 'a',
      detach: ['net2'],
      attach: ['a ?'],
    },
    {
      what: 'what was being detached goes, though it is asked for again',
      attached: [['net2', 'a']],
      steps: [{ step: 'detaching', ifName: 'net2' }],
      wanted: 'a',
      detach: ['net2'],
      attach: ['a ?'],
    },
    {
      what: 'what is held stays away for as long as it is asked for',
      attached: [['net2', 'a']],
      steps: [{ step: 'detached', ifName: 'net2', held: true }],
      wanted: 'b,a',
      attach: ['b ?'],
    },
    {
      what: 'what is held is held no more once nobody asks for it',
      attached: [['net2', 'a']],
      steps: [{ step: 'detached', ifName: 'net2', held: true }],
      wanted: '',
      unheld: ['net2'],
    },
    {
      what: 'what is held comes when it is asked for in other words',
      attached: [['net2', 'a']],
      steps: [{ step: 'detached', ifName: 'net2', held: true }],
      wanted: 'a@data0',
      attach: ['a data0'],
      unheld: ['net2'],
    },
    {
      what: 'what was held and is not any more comes again',
      attached: [['net2', 'a']],
      steps: [
        { step: 'detached', ifName: 'net2', held: true },
        { step: 'unheld', ifName: 'net2' },
      ],
      wanted: 'a',
      attach: ['a ?'],
    },
  ];
  for (const { what, attached, steps = [], wanted, detach = [], attach = [], unheld = [] } of cases) {
    test(what, () => {
      const found = difference(entryWith(attached, ...steps), parse(wanted));
      assert.deepEqual(
        found.detach.map(({ ifName }) => ifName),
        detach,
      );
      assert.deepEqual(
        found.attach.map(({ selection, ifName = '?' }) => `${selection.name} ${ifName}`),
        attach,
      );
      assert.deepEqual(found.unheld, unheld);
    });
  }

  for (const wanted of ['a@x,b@x', 'a@eth0', 'a@lo', 'a@net1']) {
    test(`${wanted} cannot be: the name is taken`, () => {
      assert.throws(() => difference(entryWith([]), parse(wanted)), /interface name \w+ already exists/);
    });
  }
});

test('names are numbered from net1 on, past those that are used', () => {
  assert.equal(freeName(new Set(['eth0'])), 'net1');
  assert.equal(freeName(new Set(['net1', 'net3', 'net2'])), 'net4');
});

/** Carries a difference out as a runner does that never fails. */
function carriedOut(entry: Entry, wanted: readonly NetworkSelection[]): Entry {
  const { detach, attach, unheld } = difference(entry, wanted);
  const lines: Step[] = unheld.map((ifName) => ({ step: 'unheld', ifName }));
  for (const { ifName } of detach) lines.push({ step: 'detaching', ifName }, { step: 'detached', ifName });
  const gone = new Set(detach.map(({ ifName }) => ifName));
  const names = new Set(entry.plan.attachments.map(({ ifName }) => ifName).filter((name) => !gone.has(name)));
  for (const { selection, ifName } of attach) {
    const name = ifName ?? freeName(new Set([...names, ...attach.flatMap((each) => each.ifName ?? [])]));
    names.add(name);
    lines.push({ step: 'planned', attachment: attachmentOf(name, selection) });
    lines.push({ step: 'added', ifName: name, result: {} });
  }
  const results = [...entry.results].map(([ifName, result]): Step => ({ step: 'added', ifName, result }));
  const all: Step[] = [...results, { step: 'complete' }, ...lines];
  return decodeEntry(encodeLine(entry.plan) + all.map(encodeLine).join(''));
}

test('whatever is asked for one after the other: once carried out, nothing is different, and what both ask for stays', () => {
  const element = fc
    .tuple(fc.constantFrom('a', 'b'), fc.constantFrom('', '@x', '@y', '@net2'))
    .map((each) => each.join(''));
  const named = (each: string): string => each.split('@')[1] ?? each;
  const elements = fc.uniqueArray(element, {
    maxLength: 5,
    selector: (each) => (each.includes('@') ? named(each) : {}),
  });
  fc.assert(
    fc.property(fc.array(elements, { maxLength: 5 }), (annotations) => {
      let entry = entryWith([]);
      for (const annotation of annotations) {
        const wanted = parse(annotation.join(','));
        const { attach } = difference(entry, wanted);
        entry = carriedOut(entry, wanted);
        const again = difference(entry, wanted);
        assert.deepEqual([again.detach, again.attach], [[], []]);
        const [settled, unsettled] = bySettled(entry);
        assert.equal(settled.length, wanted.length + 2);
        assert.deepEqual(unsettled, []);
        assert.equal(new Set(settled.map(({ ifName }) => ifName)).size, settled.length);
        assert.ok(attach.length <= wanted.length);
      }
    }),
  );
});
