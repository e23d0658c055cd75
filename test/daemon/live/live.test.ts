import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import type { JsonObject } from '../../../src/cni/json.ts';
import { ip } from '../../plugins/support.ts';
import { addWire, becomeNode } from '../../support/node.ts';
import { eventually, type LiveNode, macvlan, startLiveNode } from './node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const options = { timeout: 120_000 };

const definitions = (ipam: JsonObject): Readonly<Record<string, JsonObject>> => ({
  'net-a': macvlan(ipam, '10.1.0.0/24', { capabilities: { mac: true, ips: true } }),
  'net-b': macvlan(ipam, '10.2.0.0/24'),
});

const namesAndIps = (node: LiveNode, name?: string) =>
  node.status(name).map((each) => `${each.interface} ${each.name} ${each.ips.join(' ')}`);

const nothing = { reserved: [], journal: [] };

describe('what a running pod asks for', options, () => {
  interface Case {
    readonly what: string;
    readonly before?: string;
    readonly after: string | undefined;
    /** Interface, network and address of each status in the end. */
    readonly status: readonly string[];
    /** Reasons and messages of the events that the change makes, in order. */
    readonly events: readonly string[];
  }
  const eth0 = 'eth0 cluster-net 10.244.0.2';
  const cases: readonly Case[] = [
    {
      what: 'by an annotation that it had none of before is attached',
      after: 'net-a',
      status: [eth0, 'net1 default/net-a 10.1.0.2'],
      events: ['AddedInterface: Add net1 [10.1.0.2/24] from default/net-a'],
    },
    {
      what: 'no more, the annotation removed, is detached; the default network stays',
      before: 'net-a,net-b',
      after: undefined,
      status: [eth0],
      events: [
        'RemovedInterface: Remove net2 [10.2.0.2/24] from default/net-b',
        'RemovedInterface: Remove net1 [10.1.0.2/24] from default/net-a',
      ],
    },
    {
      what: 'instead of something else takes its place, and its name',
      before: 'net-a',
      after: 'net-b',
      status: [eth0, 'net1 default/net-b 10.2.0.2'],
      events: [
        'RemovedInterface: Remove net1 [10.1.0.2/24] from default/net-a',
        'AddedInterface: Add net1 [10.2.0.2/24] from default/net-b',
      ],
    },
    {
      what: 'in another order is as it was, and what comes takes the first free name',
      before: 'net-a,net-b@net3',
      after: 'net-b@net3,net-b,net-a',
      status: [eth0, 'net1 default/net-a 10.1.0.2', 'net3 default/net-b 10.2.0.2', 'net2 default/net-b 10.2.0.3'],
      events: ['AddedInterface: Add net2 [10.2.0.3/24] from default/net-b'],
    },
    {
      what: 'once more of one network comes beside what is there',
      before: 'net-a',
      after: 'net-a,net-a,net-a',
      status: [eth0, 'net1 default/net-a 10.1.0.2', 'net2 default/net-a 10.1.0.3', 'net3 default/net-a 10.1.0.4'],
      events: [
        'AddedInterface: Add net2 [10.1.0.3/24] from default/net-a',
        'AddedInterface: Add net3 [10.1.0.4/24] from default/net-a',
      ],
    },
    {
      what: 'in other words is detached, and attached under its name again',
      before: 'net-b,net-a',
      after: '[{"name":"net-b"},{"name":"net-a","ips":["10.1.0.9/24"]}]',
      status: [eth0, 'net1 default/net-b 10.2.0.2', 'net2 default/net-a 10.1.0.9'],
      events: [
        'RemovedInterface: Remove net2 [10.1.0.2/24] from default/net-a',
        'AddedInterface: Add net2 [10.1.0.9/24] from default/net-a',
      ],
    },
  ];
  for (const { what, before: first, after, status, events } of cases) {
    test(what, async () => {
      await using node = await startLiveNode({ definitions });
      const sandbox = await node.addPod(first);
      const made = node.status().length;
      const already = (await node.events(made)).length;
      node.annotate(after);
      await eventually(() => namesAndIps(node), status);
      assert.deepEqual((await node.events(already + events.length)).slice(already), events);
      assert.deepEqual((await node.links(sandbox)).sort(), status.map((line) => line.split(' ')[0]).sort());
      assert.equal((await node.call('CHECK', sandbox)).stdout, '');
      node.deletePod();
      assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
      assert.deepEqual(await node.links(sandbox), []);
      assert.deepEqual(await node.held(), nothing);
    });
  }
});

describe('a change that cannot be made', options, () => {
  test('is told once, tried again with growing waits, and made when it can be', async () => {
    await using node = await startLiveNode({ definitions });
    await node.addPod('net-a');
    node.annotate('net-a,net-c,net-b');
    await node.has(['eth0', 'net1', 'net2']);
    for (const wait of [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 300_000]) {
      await eventually(() => node.waits.at(-1), wait);
      node.passTime();
    }
    const told = await node.events(4);
    assert.equal(told.filter((event) => event.startsWith('FailedAddingInterface')).length, 1);
    assert.match(
      told.at(2) ?? '',
      /^FailedAddingInterface: cannot find a network-attachment-definition \(net-c\) in namespace \(default\)/,
    );
    // Nobody has to wait for what was missing and is there.
    node.define('net-c', { cniVersion: '1.0.0', type: 'faulty' });
    await node.has(['eth0', 'net1', 'net2', 'net3']);
    assert.match((await node.events(5)).at(-1) ?? '', /^AddedInterface: Add net3 \[\] from default\/net-c$/);
  });
});
