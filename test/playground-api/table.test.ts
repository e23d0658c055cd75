import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject, JsonValue } from '../../src/cni/json.ts';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import { at, listAt, textAt } from '../../src/playground/api/object.ts';
import {
  events,
  networkAttachmentDefinitions,
  nodes,
  pods,
  type Resource,
} from '../../src/playground/api/resources.ts';
import { humanDuration, tableOf } from '../../src/playground/api/table.ts';
import { network } from './manifests.ts';

const created = new Date(Date.now() - 90_500).toISOString();

/** The cells of one object by their columns. */
function cellsOf(resource: Resource, object: KubernetesObject): Record<string, JsonValue> {
  const aged = { ...object, metadata: { ...object.metadata, creationTimestamp: created } };
  const table = tableOf(resource, [aged], {}, 'None');
  const cells = listAt(listAt(table, 'rows')[0], 'cells');
  const names = listAt(table, 'columnDefinitions').map((column) => textAt(column, 'name'));
  return Object.fromEntries(names.map((name, index) => [name, cells[index] ?? null]));
}

const waiting = (reason: string): JsonObject => ({ state: { waiting: { reason } }, ready: false, restartCount: 2 });
const ended = (terminated: JsonObject): JsonObject => ({ state: { terminated }, ready: false, restartCount: 0 });
const running: JsonObject = { state: { running: {} }, ready: true, restartCount: 1 };

const podRows: ReadonlyArray<{
  readonly what: string;
  readonly status: JsonObject;
  readonly metadata?: { readonly deletionTimestamp: string };
  readonly cells: Readonly<Record<string, JsonValue>>;
}> = [
  {
    what: 'nothing yet',
    status: {},
    cells: { Ready: '0/2', Status: '<none>', Restarts: 0, IP: '<none>', Node: 'node-1', Age: '90s' },
  },
  {
    what: 'all containers running',
    status: { phase: 'Running', podIP: '10.0.0.1', containerStatuses: [running, running] },
    cells: { Ready: '2/2', Status: 'Running', Restarts: 2, IP: '10.0.0.1' },
  },
  {
    what: 'containers that wait, of which the first one counts',
    status: { phase: 'Pending', containerStatuses: [waiting('ContainerCreating'), waiting('ImagePullBackOff')] },
    cells: { Ready: '0/2', Status: 'ContainerCreating', Restarts: 4 },
  },
  {
    what: 'one container done and one running',
    status: { phase: 'Running', containerStatuses: [ended({ reason: 'Completed', exitCode: 0 }), running] },
    cells: { Ready: '1/2', Status: 'Running' },
  },
  { what: 'an exit code', status: { containerStatuses: [ended({ exitCode: 3 })] }, cells: { Status: 'ExitCode:3' } },
  {
    what: 'a signal',
    status: { containerStatuses: [ended({ exitCode: 137, signal: 9 })] },
    cells: { Status: 'Signal:9' },
  },
  { what: 'a reason', status: { phase: 'Failed', reason: 'Evicted' }, cells: { Status: 'Evicted' } },
  {
    what: 'its end before it',
    status: { phase: 'Running', containerStatuses: [running] },
    metadata: { deletionTimestamp: created },
    cells: { Status: 'Terminating' },
  },
];

for (const { what, status, metadata, cells } of podRows) {
  test(`the row of a pod with ${what}`, () => {
    const all = cellsOf(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'a', ...metadata },
      spec: { nodeName: 'node-1', containers: [{ name: 'x' }, { name: 'y' }] },
      status,
    });
    for (const [column, value] of Object.entries(cells)) assert.equal(all[column], value, column);
  });
}

test('the row of a node', () => {
  const node = (status: string, spec: JsonObject): KubernetesObject => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n', labels: { 'node-role.kubernetes.io/b': '', 'node-role.kubernetes.io/a': '', other: '' } },
    spec,
    status: {
      conditions: [{ type: 'DiskPressure', status: 'False' }, ...(status === '' ? [] : [{ type: 'Ready', status }])],
      addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
    },
  });
  const ready = cellsOf(nodes, node('True', {}));
  assert.deepEqual(
    [ready['Status'], ready['Roles'], ready['Internal-IP'], ready['External-IP'], ready['OS-Image']],
    ['Ready', 'a,b', '10.0.0.1', '<none>', '<unknown>'],
  );
  assert.equal(cellsOf(nodes, node('False', { unschedulable: true }))['Status'], 'NotReady,SchedulingDisabled');
  assert.equal(cellsOf(nodes, node('', {}))['Status'], 'Unknown');
});

test('the row of an event, also of one that has the newer time alone', () => {
  const event = {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: 'e' },
    involvedObject: { kind: 'Pod', name: 'a' },
    type: 'Normal',
    reason: 'AddedInterface',
    message: ' Add eth0\n',
  };
  const times = { firstTimestamp: new Date(Date.now() - 600_500).toISOString(), lastTimestamp: created, count: 4 };
  const {
    'Last Seen': last,
    'First Seen': first,
    ...cells
  } = cellsOf(events, {
    ...event,
    ...times,
    source: { component: 'multus', host: 'node-1' },
  });
  assert.deepEqual([last, first], ['90s', '10m']);
  assert.deepEqual(cells, {
    Type: 'Normal',
    Reason: 'AddedInterface',
    Object: 'pod/a',
    Subobject: '',
    Source: 'multus, node-1',
    Message: 'Add eth0',
    Count: 4,
    Name: 'e',
  });
  const newer = cellsOf(events, { ...event, eventTime: created, reportingComponent: 'other' });
  assert.deepEqual([newer['Last Seen'], newer['Source'], newer['Count']], ['90s', 'other', 1]);
});

test('what a row carries of its object', () => {
  const object = { ...network('n'), metadata: { name: 'n', namespace: 'default' } };
  const carried = (include: string) =>
    at(listAt(tableOf(networkAttachmentDefinitions, [object], {}, include), 'rows')[0], 'object');
  assert.equal(carried('None'), null);
  assert.deepEqual(carried('Object'), object);
  assert.deepEqual(carried('Metadata'), {
    kind: 'PartialObjectMetadata',
    apiVersion: 'meta.k8s.io/v1',
    metadata: object.metadata,
  });
});

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

for (const [milliseconds, text] of [
  [-5, '0s'],
  [0, '0s'],
  [119 * second, '119s'],
  [2 * minute, '2m'],
  [9 * minute + 59 * second, '9m59s'],
  [10 * minute + 30 * second, '10m'],
  [179 * minute, '179m'],
  [3 * hour, '3h'],
  [7 * hour + 59 * minute, '7h59m'],
  [8 * hour + 59 * minute, '8h'],
  [47 * hour, '47h'],
  [2 * day, '2d'],
  [7 * day + 23 * hour, '7d23h'],
  [8 * day + 23 * hour, '8d'],
  [729 * day, '729d'],
  [730 * day, '2y'],
  [731 * day, '2y1d'],
  [8 * 365 * day + day, '8y'],
] as const) {
  test(`an age of ${milliseconds} ms is written ${text}`, () => {
    assert.equal(humanDuration(milliseconds), text);
  });
}
