import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import { events, nodes, pods } from '../../src/playground/api/resources.ts';
import { fieldSelector, labelSelector } from '../../src/playground/api/selectors.ts';

const labelled: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  web: { app: 'web', tier: 'front', 'example.org/x': '' },
  db: { app: 'db', tier: 'back' },
  bare: {},
};

const objects = Object.entries(labelled).map(
  ([name, labels]): KubernetesObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels },
  }),
);

const selectedByLabel: ReadonlyArray<readonly [string, readonly string[]]> = [
  ['', ['web', 'db', 'bare']],
  ['app=web', ['web']],
  ['app==web', ['web']],
  ['app!=web', ['db', 'bare']],
  ['app in (web, db)', ['web', 'db']],
  ['app in(db),tier', ['db']],
  ['app notin (web,other)', ['db', 'bare']],
  ['tier,app=db', ['db']],
  ['!tier', ['bare']],
  ['example.org/x=', ['web']],
  ['constructor', []],
  ['app in (web),tier notin (back),!none', ['web']],
];

for (const [text, names] of selectedByLabel) {
  test(`labels: "${text}" selects ${names.join(', ') || 'nothing'}`, () => {
    const selector = labelSelector(text);
    assert.deepEqual(
      objects.filter(selector).map(({ metadata }) => metadata.name),
      names,
    );
  });
}

for (const text of ['app=web=1', 'a b', 'app in web', '=x', 'app>1']) {
  test(`labels: "${text}" is refused`, () => {
    assert.throws(() => labelSelector(text), { reason: 'BadRequest', message: /^unable to parse requirement: / });
  });
}

const one: KubernetesObject = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'a', namespace: 'team' },
  spec: { nodeName: 'n1' },
  source: { component: 'multus' },
};

for (const [text, resource, selected] of [
  ['', pods, true],
  ['metadata.name=a,metadata.namespace=team', pods, true],
  ['metadata.name=a,spec.nodeName!=n1', pods, false],
  ['spec.nodeName==n1', pods, true],
  ['spec.nodeName=', pods, false],
  ['status.phase=', pods, true],
  ['spec.hostNetwork=false', pods, true],
  ['spec.unschedulable=true', nodes, false],
  ['source=multus', events, true],
] as const) {
  test(`fields: "${text}" ${selected ? 'selects' : 'does not select'} the object`, () => {
    assert.equal(fieldSelector(text, resource)(one), selected);
  });
}

test('fields that a resource is not selected by are refused, with those it is', () => {
  assert.throws(() => fieldSelector('spec.unknown=1', nodes), {
    reason: 'BadRequest',
    message:
      'field label not supported: spec.unknown; nodes have metadata.name, metadata.namespace, spec.unschedulable',
  });
  assert.throws(() => fieldSelector('spec.nodeName', pods), { message: /expected field=value$/ });
});
