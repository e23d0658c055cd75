import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { Metrics } from '../../src/daemon/metrics.ts';

test('calls and attachments are counted, and their times put into buckets of seconds', async () => {
  const metrics = new Metrics();
  const planned = {
    network: 'default/net-a',
    ifName: 'net1',
    isDefault: false,
    config: '',
    source: '',
    defaultName: '',
    runtimeConfig: {},
    cniArgs: {},
  };
  const attachment = { command: 'ADD', planned, plugin: 'macvlan', milliseconds: 3 } as const;
  metrics.call('ADD', 'plexus', 0, 40);
  metrics.call('ADD', 'plexus', 11, 4);
  metrics.attachment(attachment);
  metrics.attachment({ ...attachment, error: new CniError(7, 'no') });

  const text = await metrics.registry.metrics();
  const labels = 'command="ADD",network="default/net-a",plugin="macvlan"';
  for (const line of [
    'plexus_calls_total{command="ADD",plugin="plexus",code="0"} 1',
    'plexus_calls_total{command="ADD",plugin="plexus",code="11"} 1',
    'plexus_call_seconds_bucket{le="0.005",command="ADD",plugin="plexus"} 1',
    'plexus_call_seconds_bucket{le="0.05",command="ADD",plugin="plexus"} 2',
    'plexus_call_seconds_sum{command="ADD",plugin="plexus"} 0.044',
    `plexus_attachments_total{${labels},outcome="success"} 1`,
    `plexus_attachments_total{${labels},outcome="failure"} 1`,
    `plexus_attachment_seconds_bucket{le="0.005",${labels}} 2`,
  ]) {
    assert.ok(text.split('\n').includes(line), `${line}\nis missing from\n${text}`);
  }
});

test('what each process has is there as well', async () => {
  const text = await new Metrics().registry.metrics();
  assert.match(text, /^process_resident_memory_bytes \d+$/m);
  assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m);
});
