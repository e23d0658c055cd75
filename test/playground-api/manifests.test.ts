import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadManifests, parseManifests } from '../../src/playground/api/manifests.ts';
import { testDirectory } from '../support/directory.ts';
import { network, pod } from './manifests.ts';

const namesOf = (objects: ReturnType<typeof parseManifests>): string[] =>
  objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? '-'}/${metadata.name}`);

test('any number of documents, in YAML and in JSON, with lists unfolded', () => {
  const text = `# a comment alone
---
---
apiVersion: v1
kind: Pod
metadata: { name: a, annotations: { on: "yes", at: "2001-01-01" } }
spec: &spec { containers: [] }
--- # JSON is YAML
{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
---
apiVersion: v1
kind: List
items:
  - ${JSON.stringify(network('x'))}
  - { apiVersion: v1, kind: Namespace, metadata: { name: team } }
...
`;
  const objects = parseManifests(text, 'f.yaml');
  assert.deepEqual(namesOf(objects), [
    'Pod -/a',
    'Node -/n',
    'NetworkAttachmentDefinition default/x',
    'Namespace -/team',
  ]);
  assert.deepEqual(objects[0]?.metadata.annotations, { on: 'yes', at: '2001-01-01' });
});

test("several files are one cluster, and an object's configuration stays as it was written", async () => {
  await using directory = await testDirectory();
  const files = ['a.yaml', 'b.json'].map((name) => join(directory.path, name));
  const config = '{ "cniVersion": "0.3.0",  "type": "ipvlan" }';
  await writeFile(files[0] ?? '', JSON.stringify(pod('a')));
  await writeFile(files[1] ?? '', JSON.stringify(network('n', config)));
  const [first, second] = await loadManifests(files);
  assert.equal(first?.metadata.name, 'a');
  assert.deepEqual(second?.['spec'], { config });
});

const yaml = (more: string): string => `apiVersion: v1\nkind: Pod\n${more}`;

const bomb = Array.from({ length: 12 }, (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : `${`*a${i - 1},`.repeat(9)}`}]`);

const wrong: ReadonlyArray<{ readonly what: string; readonly text: string; readonly message: RegExp }> = [
  {
    what: 'YAML that is none',
    text: `${yaml('metadata: {name: a}')}\n---\na: [`,
    message: /^f\.yaml, document 2: .* at line 5/,
  },
  { what: 'tabs', text: 'a:\n\t- b', message: /^f\.yaml, document 1: .*[Tt]ab/ },
  { what: 'a text', text: 'hello', message: /^f\.yaml, document 1: Invalid input: expected object, received string$/ },
  {
    what: 'no kind',
    text: 'apiVersion: v1\nmetadata: {name: a}',
    message: /^f\.yaml, document 1: kind: Invalid input/,
  },
  { what: 'no metadata', text: yaml(''), message: /^f\.yaml, document 1: metadata: Invalid input/ },
  {
    what: 'a label that is a number',
    text: yaml('metadata: {name: a, labels: {x: 1}}'),
    message: /metadata\.labels\.x: Invalid input: expected string, received number$/,
  },
  {
    what: 'no name',
    text: yaml('metadata: {}'),
    message: /^f\.yaml, document 1: metadata\.name: expected a lowercase DNS subdomain, found ""$/,
  },
  {
    what: 'a name that is none',
    text: yaml('metadata: {name: My_Pod}'),
    message: /metadata\.name: expected a lowercase DNS subdomain, found "My_Pod"$/,
  },
  {
    what: 'a kind that is not served',
    text: 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}',
    message:
      /^f\.yaml, document 1: apiVersion, kind: expected one of v1 Pod, v1 Node, v1 Namespace, v1 Event, k8s\.cni\.cncf\.io\/v1 NetworkAttachmentDefinition, .*, found apps\/v1 Deployment$/,
  },
  {
    what: 'the wrong version',
    text: 'apiVersion: k8s.cni.cncf.io/v2\nkind: NetworkAttachmentDefinition\nmetadata: {name: a}',
    message: /found k8s\.cni\.cncf\.io\/v2 NetworkAttachmentDefinition$/,
  },
  {
    what: 'a bad item of a list',
    text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [pod('a'), {}] }),
    message: /^f\.yaml, document 1, items\[1\]: apiVersion: /,
  },
  {
    what: 'an object twice',
    text: `${JSON.stringify(pod('a'))}\n---\n${yaml('metadata: {name: a}')}`,
    message: /^f\.yaml, document 2: Pod default\/a is in f\.yaml, document 1 already$/,
  },
  { what: 'aliases that explode', text: bomb.join('\n'), message: /^f\.yaml, document 1: .*alias/i },
];

for (const { what, text, message } of wrong) {
  test(`a manifest with ${what} is refused, and told where`, () => {
    assert.throws(() => parseManifests(text, 'f.yaml'), { message });
  });
}

test('a file that is not there is told by its path', async () => {
  await assert.rejects(loadManifests(['/nonexistent/pod.yaml']), /'\/nonexistent\/pod\.yaml'/);
});
