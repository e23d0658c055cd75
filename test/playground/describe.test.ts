import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeEvents } from '../../src/playground/describe.ts';

const now = Date.parse('2026-01-01T00:01:40Z');

function event(time: string, more: { message: string; type?: string; reason?: string; count?: number; from?: string }) {
  const { message, type = 'Normal', reason = 'AddedInterface', count = 1, from = 'multus' } = more;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: 'a' },
    type,
    reason,
    message,
    count,
    source: { component: from },
    firstTimestamp: '2026-01-01T00:00:00Z',
    lastTimestamp: time,
  };
}

test('events are written as kubectl describe writes them, the oldest first, those of one second in the order of the list', () => {
  const events = [
    event('2026-01-01T00:01:39Z', { message: 'Add eth0 [10.0.0.1/32] from aws-cni' }),
    event('2026-01-01T00:01:39Z', { message: 'Add net1 [] from default/a\n' }),
    event('2026-01-01T00:01:36Z', { message: 'assigned', reason: 'Scheduled', from: 'default-scheduler' }),
    event('2026-01-01T00:01:40Z', { message: 'no\u001b[31m', type: 'Warning', reason: 'Failed', count: 3 }),
  ];
  assert.deepEqual(describeEvents(events, now), [
    'Type     Reason          Age                From               Message',
    '----     ------          ----               ----               -------',
    'Normal   Scheduled       4s                 default-scheduler  assigned',
    'Normal   AddedInterface  1s                 multus             Add eth0 [10.0.0.1/32] from aws-cni',
    'Normal   AddedInterface  1s                 multus             Add net1 [] from default/a',
    'Warning  Failed          0s (x3 over 100s)  multus             no?[31m',
  ]);
});

test('no events are none, in the words of kubectl', () => {
  assert.deepEqual(describeEvents([], now), ['<none>']);
});
