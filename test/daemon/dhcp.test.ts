import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { leaseRecords } from '../../src/plugins/dhcp/v4/records.ts';
import { startNode } from './node.ts';

test('a daemon that starts goes on with the leases of the one before', async () => {
  const records = leaseRecords('/run/cni/dhcp');
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  const holder = { network: `plx-test-${process.pid}`, containerId: 'c1', ifName: 'net1' };
  await records.write({
    ...holder,
    netns: '/run/netns/plx-test-gone',
    netnsId: '0:0',
    index: 2,
    bootId: bootId.trim(),
    broadcast: false,
    options: [],
    status: 'bound',
    lease: {
      address: '10.5.0.10/24',
      routes: [],
      dns: {},
      server: '10.5.0.1',
      serverMac: '02:00:00:00:00:01',
      renewAt: 0,
      rebindAt: Number.MAX_SAFE_INTEGER,
      expiresAt: Number.MAX_SAFE_INTEGER,
    },
  });
  await using node = await startNode({ plugins: builtinPlugins }, {}, 'loopback');
  // It is due, and its pod is not there any more.
  const isSaid = (): boolean => node.lines.some(({ msg }) => `${msg}`.startsWith('the DHCP lease is no longer kept'));
  for (let waited = 0; !isSaid(); waited += 10) {
    assert.ok(waited < 15_000, 'the lease is still kept');
    await sleep(10);
  }
  assert.equal(await records.read(holder), undefined);
});
