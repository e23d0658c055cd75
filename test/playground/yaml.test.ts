import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { parseManifests } from '../../src/playground/api/manifests.ts';
import { parseYaml } from '../../src/playground/api/yaml.ts';

const examples = resolve(import.meta.dirname, '../../examples');

/** YAML, and what kubectl reads in it: go-yaml takes all of these. */
const texts: Readonly<Record<string, readonly [yaml: string, values: readonly unknown[]]>> = {
  'a single-quoted text that ends at the column of its key': [
    'spec:\n  config: \'{\n    "a": 1\n  }\'\nnext: 2\n',
    [{ spec: { config: '{ "a": 1 }' }, next: 2 }],
  ],
  'lines of it that are not indented at all': ["a:\n  b: '1\n2\n\n3'\n", [{ a: { b: '1 2\n3' } }]],
  'a double-quoted text': ['a:\n  b: "1\n\\"2\\",\n"\nc: 3\n', [{ a: { b: '1 "2", ' }, c: 3 }]],
  'several in several documents': ["a: '1\n2'\n---\nb: '3\n4'\n", [{ a: '1 2' }, { b: '3 4' }]],
  'a quoted text with a doubled quote': ["a:\n  b: 'it''s\n  here'\n", [{ a: { b: "it's here" } }]],
  'quotes in a block, which are text': ["a: |\n  b: 'c\n  d\ne: 1\n", [{ a: "b: 'c\nd\n", e: 1 }]],
};

for (const [what, [yaml, values]] of Object.entries(texts)) {
  test(`reads ${what}`, () => {
    const documents = parseYaml(yaml);
    assert.deepEqual(
      documents.flatMap(({ errors }) => errors),
      [],
    );
    assert.deepEqual(
      documents.map((document): unknown => document.toJS()),
      values,
    );
  });
}

const mistakes: Readonly<Record<string, readonly [yaml: string, message: RegExp]>> = {
  'a quote that is missing': ["a: '1\nb: 2\n", /Missing closing 'quote/],
  'a quote that is missing before another document': ["a: '1\n---\nb: '2'\n", /Missing closing 'quote/],
  'another mistake': ['a: [1\n', /at line/],
};

for (const [what, [yaml, message]] of Object.entries(mistakes)) {
  test(`still refuses ${what}, with the line of the text as it was written`, () => {
    const [first] = parseYaml(yaml).flatMap(({ errors }) => errors);
    assert.match(first?.message ?? '', message);
    assert.doesNotMatch(first?.message ?? '', / {60}/);
  });
}

test("the walk-through's manifests are in examples as they stand in the walk-through", async () => {
  const read = async (name: string) => parseManifests(await readFile(join(examples, name), 'utf8'), name);
  const [network] = await read('ipvlan-conf-1.yaml');
  const [pod] = await read('sampleapp-1.yaml');
  assert.deepEqual(network, {
    apiVersion: 'k8s.cni.cncf.io/v1',
    kind: 'NetworkAttachmentDefinition',
    metadata: { name: 'ipvlan-conf-1' },
    spec: {
      config:
        '{ "cniVersion": "0.3.0", "type": "ipvlan", "master": "ens6", "mode": "l2", "ipam": { "type": "host-local", ' +
        '"subnet": "100.64.0.0/19", "rangeStart": "100.64.30.10", "rangeEnd": "100.64.30.100", "gateway": "100.64.0.1" } }',
    },
  });
  assert.deepEqual(pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'sampleapp-1', annotations: { 'k8s.v1.cni.cncf.io/networks': 'ipvlan-conf-1' } },
    spec: {
      containers: [
        {
          name: 'network-multitool',
          command: ['sh', '-c', 'trap : TERM INT; sleep infinity & wait'],
          image: 'praqma/network-multitool',
        },
      ],
    },
  });
});
