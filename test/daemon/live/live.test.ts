import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { CniError } from '../../../src/cni/error.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import { ip } from '../../plugins/support.ts';
import { addWire, becomeNode } from '../../support/node.ts';
import { eventually, type LiveNode, macvlan, type Sandbox, startLiveNode } from './node.ts';

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
      what: 'by a name that we gave to another moves that one',
      before: 'net-a',
      after: 'net-a,net-b@net1',
      status: [eth0, 'net2 default/net-a 10.1.0.3', 'net1 default/net-b 10.2.0.2'],
      events: [
        'RemovedInterface: Remove net1 [10.1.0.2/24] from default/net-a',
        'AddedInterface: Add net2 [10.1.0.3/24] from default/net-a',
        'AddedInterface: Add net1 [10.2.0.2/24] from default/net-b',
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

const faulty = { cniVersion: '1.0.0', type: 'faulty' };
const withFaulty = (ipam: JsonObject) => ({ ...definitions(ipam), 'net-f': faulty });

test('what is asked for again after a change that failed half way comes again', options, async () => {
  await using node = await startLiveNode({ definitions });
  const sandbox = await node.addPod('net-a');
  node.annotate('net-b,net-c');
  await eventually(() => namesAndIps(node).at(1), 'net1 default/net-b 10.2.0.2');
  node.annotate('net-a');
  await eventually(() => namesAndIps(node).at(1), 'net1 default/net-a 10.1.0.3');
  assert.deepEqual(await node.links(sandbox), ['eth0', 'net1']);
});

describe('a network that fails', options, () => {
  test('to be attached leaves nothing of itself and all of the others, and is attached when it can be', async () => {
    await using node = await startLiveNode({
      definitions: (ipam) => {
        const { ipam: own, ...macvlanOnly } = macvlan(ipam, '10.3.0.0/24');
        const plugins = [{ ...macvlanOnly, ipam: own }, { type: 'faulty' }];
        return { ...definitions(ipam), 'net-f': { cniVersion: '1.0.0', name: 'net-f', plugins } };
      },
    });
    const sandbox = await node.addPod('net-a');
    node.faults.add = new CniError(111, 'no more circuits', 'ask the carrier');
    node.annotate('net-a,net-f,net-b');
    await node.has(['eth0', 'net1', 'net2']);
    assert.deepEqual((await node.held()).reserved, ['cluster-net/10.244.0.2', 'net-a/10.1.0.2', 'net-b/10.2.0.2']);
    assert.deepEqual((await node.links(sandbox)).sort(), ['eth0', 'net1', 'net2']);
    const told = (await node.events(4)).filter((event) => event.startsWith('FailedAddingInterface'));
    assert.deepEqual(told, [
      'FailedAddingInterface: network default/net-f, interface net2: plugin type="faulty" name="net-f" failed (add): no more circuits (ask the carrier)',
    ]);
    node.faults.add = undefined;
    await eventually(() => node.waits.at(-1), 1_000);
    node.passTime();
    await node.has(['eth0', 'net1', 'net2', 'net3']);
    assert.equal((await node.call('CHECK', sandbox)).stdout, '');
  });

  test('to be detached stays what it is to the journal, is told once, and is released when it can be', async () => {
    await using node = await startLiveNode({ definitions: withFaulty });
    const sandbox = await node.addPod('net-f,net-a');
    node.faults.delete = new CniError(111, 'the circuit hangs');
    node.annotate('net-b');
    await eventually(() => node.status().map(({ name }) => name), ['cluster-net', 'default/net-f', 'default/net-b']);
    await eventually(() => node.waits.at(-1), 1_000);
    node.passTime();
    await eventually(() => node.waits.at(-1), 2_000);
    const told = (await node.events(6)).slice(3);
    assert.deepEqual(told, [
      'RemovedInterface: Remove net2 [10.1.0.2/24] from default/net-a',
      'FailedRemovingInterface: network default/net-f, interface net1: plugin type="faulty" name="net-f" failed (delete): the circuit hangs',
      // net1 counts as taken for as long as it may be.
      'AddedInterface: Add net2 [10.2.0.2/24] from default/net-b',
    ]);
    assert.equal((await node.call('CHECK', sandbox)).stdout, '');
    assert.match((await node.call('DEL', sandbox)).stdout, /the circuit hangs/);
    node.faults.delete = undefined;
    assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
    assert.deepEqual(await node.held(), nothing);
  });

  test('by a name that the pod has given away itself is refused before anything is called for it', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod();
    await ip(sandbox.namespace.path, 'link', 'add', 'own0', 'type', 'bridge');
    await ip(sandbox.namespace.path, 'link', 'add', 'net1', 'type', 'bridge');
    node.annotate('net-a@own0,net-b');
    await node.has(['eth0', 'net2']);
    const [, told] = await node.events(3);
    assert.equal(
      told,
      'FailedAddingInterface: interface own0 cannot be attached: the pod has one of that name (name another interface, or remove that one)',
    );
    assert.deepEqual((await node.links(sandbox)).sort(), ['eth0', 'net1', 'net2', 'own0']);
  });
});

describe('an annotation that cannot be followed changes nothing, and is told', options, () => {
  const cases: readonly { readonly what: string; readonly networks: string; readonly told: RegExp }[] = [
    { what: 'no JSON', networks: '[{"name":', told: /annotation k8s\.v1\.cni\.cncf\.io\/networks: not valid JSON/ },
    { what: 'one interface twice', networks: 'net-b@x,net-a@x', told: /interface name x already exists/ },
    { what: "the default network's interface", networks: 'net-b@eth0', told: /interface name eth0 already exists/ },
    {
      what: 'two default routes of one family',
      networks: '[{"name":"net-a","default-route":["10.1.0.1"]},{"name":"net-b","default-route":["10.2.0.1"]}]',
      told: /the default route for IPv4 is asked for by default\/net-a and default\/net-b/,
    },
  ];
  for (const { what, networks, told } of cases) {
    test(what, async () => {
      await using node = await startLiveNode({ definitions });
      const sandbox = await node.addPod('net-a');
      const before = namesAndIps(node);
      node.annotate(networks);
      const [, , event = ''] = await node.events(3);
      assert.match(event, /^FailedAddingInterface: /);
      assert.match(event, told);
      assert.deepEqual(namesAndIps(node), before);
      assert.deepEqual(await node.links(sandbox), ['eth0', 'net1']);
      // Another one is followed.
      node.annotate('net-a,net-b');
      await node.has(['eth0', 'net1', 'net2']);
    });
  }
});

describe('the default route', options, () => {
  const defaults = async ({ namespace }: Sandbox) =>
    (await ip(namespace.path, 'route', 'show', 'default')).map(({ gateway, dev }) => `${gateway} ${dev}`);

  for (const how of ['while the pod runs', 'from the start'] as const) {
    test(`that a network asked for ${how} goes back where it came from when that is detached`, async () => {
      await using node = await startLiveNode({ definitions });
      const asking = '[{"name":"net-a","default-route":["10.1.0.1"]}]';
      const sandbox = await node.addPod(how === 'from the start' ? asking : undefined);
      node.annotate(asking);
      await node.has(['eth0', 'net1']);
      assert.deepEqual(await defaults(sandbox), ['10.1.0.1 net1']);
      assert.deepEqual(
        node.status().map(({ gateway }) => gateway),
        [undefined, ['10.1.0.1']],
      );
      node.annotate('[{"name":"net-b","default-route":["10.2.0.1"]}]');
      await eventually(() => namesAndIps(node).at(1), 'net1 default/net-b 10.2.0.2');
      assert.deepEqual(await defaults(sandbox), ['10.2.0.1 net1']);
      node.annotate('[]');
      await node.has(['eth0']);
      assert.deepEqual(await defaults(sandbox), ['10.244.0.1 eth0']);
      assert.deepEqual(node.status().at(0)?.gateway, ['10.244.0.1']);
    });
  }

  test('by a gateway that cannot be reached is a failure of that network alone', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod();
    node.annotate('[{"name":"net-a","default-route":["192.0.2.1"]},{"name":"net-b"}]');
    await eventually(() => namesAndIps(node).length, 2);
    assert.match((await node.events(3)).at(1) ?? '', /^FailedAddingInterface: network default\/net-a.*192\.0\.2\.1/);
    assert.deepEqual(await defaults(sandbox), ['10.244.0.1 eth0']);
    assert.deepEqual((await node.held()).reserved, ['cluster-net/10.244.0.2', 'net-b/10.2.0.2']);
  });
});

describe('a daemon that starts again', options, () => {
  test('attaches and detaches what changed while it was down', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a');
    await node.stop();
    node.annotate('net-b');
    await node.start();
    await eventually(() => namesAndIps(node), ['eth0 cluster-net 10.244.0.2', 'net1 default/net-b 10.2.0.2']);
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net1']);
  });

  test('changes nothing where nothing changed, whoever attached', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a');
    node.annotate('net-a,net-b');
    await node.has(['eth0', 'net1', 'net2']);
    const before = { status: node.status(), links: await node.links(sandbox), events: await node.events(3) };
    await node.stop();
    await node.start();
    // What comes last is made last.
    node.annotate('net-a,net-b,net-b');
    await node.has(['eth0', 'net1', 'net2', 'net3']);
    assert.deepEqual(node.status().slice(0, 3), before.status);
    assert.deepEqual((await node.events(4)).slice(0, 3), before.events);
  });

  test('holds a pod to what the runtime said at its ADD', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a', 'app', { namespaceIsolation: true });
    await node.stop();
    node.annotate('net-a,kube-system/net-x');
    await node.start();
    assert.match(
      (await node.events(3)).at(2) ?? '',
      /^FailedAddingInterface: annotation .* namespaces are isolated: pod app of namespace default may not use network kube-system\/net-x/,
    );
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net1']);
  });
});

describe('a pod', options, () => {
  test('that is deleted while its networks are changed is released by its DEL, which waits for what is under way', async () => {
    await using node = await startLiveNode({ definitions: withFaulty });
    const sandbox = await node.addPod('net-a');
    const gate = Promise.withResolvers<void>();
    const began = Promise.withResolvers<void>();
    node.faults.hold = gate.promise;
    node.faults.began = began.resolve;
    node.annotate('net-a,net-f,net-b');
    await began.promise;
    node.deletePod();
    const answer = node.call('DEL', sandbox);
    gate.resolve();
    assert.deepEqual(await answer, { exitStatus: 0, stdout: '' });
    assert.deepEqual(await node.links(sandbox), []);
    assert.deepEqual(await node.held(), nothing);
  });

  test('that is being deleted is changed no more', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a');
    node.terminate();
    node.annotate('net-b');
    // What comes last is done last.
    await node.addPod('net-b', 'other');
    node.annotate('net-b,net-b', 'other');
    await node.has(['eth0', 'net1', 'net2'], 'other');
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net1']);
    assert.deepEqual(namesAndIps(node).at(1), 'net1 default/net-a 10.1.0.2');
    assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
  });

  test('that was recreated under its name is not taken for the one that has the sandbox', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a');
    node.deletePod();
    node.createPod('app', 'net-b');
    await node.addPod('net-b', 'other');
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net1']);
    assert.deepEqual(node.status('app'), []);
    assert.equal((await node.call('DEL', sandbox)).exitStatus, 0);
  });

  test('that the shim has attached to its default network alone gets all that it would have got', async () => {
    await using node = await startLiveNode({
      definitions: withFaulty,
      config: { defaultNetworks: ['net-a'], multusNamespace: 'default', auxiliaryCNIChainName: 'chain' },
    });
    const sandbox = await node.addPod(undefined, 'app', { systemNamespaces: ['default'] });
    assert.deepEqual(await node.links(sandbox), ['eth0']);
    await node.stop();
    const journal = join(node.directory, 'state/journal/sandbox-app:eth0');
    const [plan = '', ...steps] = (await readFile(journal, 'utf8')).trimEnd().split('\n');
    const adopted = [plan.replace('"networks":"",', ''), ...steps, '{"step":"adopted"}'];
    await writeFile(journal, adopted.map((line) => `${line}\n`).join(''));
    const runtime = join(node.directory, 'state/runtime.json');
    await writeFile(runtime, (await readFile(runtime, 'utf8')).replace('"systemNamespaces":["default"]', '"x":0'));
    await mkdir(join(node.directory, 'net.d/chain'));
    await writeFile(join(node.directory, 'net.d/chain/10-faulty.conf'), '{"type":"faulty"}');
    node.faults.add = new CniError(111, 'no more circuits');
    node.annotate('net-b@data0');
    await node.start();
    await node.has(['eth0', 'net1', 'data0']);
    node.faults.add = undefined;
    await eventually(() => node.waits.at(-1), 1_000);
    node.passTime();
    const wanted = ['cluster-net eth0', 'default/net-a net1', 'default/net-b data0', 'chain net2'];
    const attached = async () =>
      (await node.entry(sandbox))?.plan.attachments.map(({ network, ifName }) => `${network} ${ifName}`);
    await eventually(attached, wanted);
    await eventually(async () => (await node.entry(sandbox))?.settled, 'net-b@data0');
    // None of them is of the annotation but one.
    node.annotate(undefined);
    await node.has(['eth0', 'net1']);
    assert.deepEqual(await attached(), [wanted[0], wanted[1], wanted[3]]);
    assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
    assert.deepEqual(await node.held(), nothing);
  });

  test('that another meta-plugin has attached is left alone', async () => {
    await using node = await startLiveNode({ definitions });
    node.createPod('stranger', 'net-a');
    await node.addPod('net-a', 'app');
    node.annotate('net-a,net-b', 'stranger');
    node.annotate('net-a,net-b', 'app');
    await node.has(['eth0', 'net1', 'net2']);
    node.passTime();
    assert.deepEqual(node.status('stranger'), []);
    const events = await node.events(3);
    assert.ok(
      events.every((event) => event.startsWith('AddedInterface')),
      events.join('\n'),
    );
  });

  test('with the network of its node is told that nothing is attached to it', async () => {
    await using node = await startLiveNode({ definitions });
    node.createPod('hosted', 'net-a', { hostNetwork: true });
    await eventually(() => node.waits, [30_000]);
    node.passTime();
    assert.deepEqual(await node.events(1), [
      'InterfaceAddRejected: pod default/hosted has the network of its node (hostNetwork): no interface is added to it',
    ]);
  });

  test('whose annotation changes during its ADD gets what it asks for by then', async () => {
    await using node = await startLiveNode({ definitions: withFaulty });
    const gate = Promise.withResolvers<void>();
    const began = Promise.withResolvers<void>();
    node.faults.hold = gate.promise;
    node.faults.began = began.resolve;
    const adding = node.addPod('net-f,net-a', 'app');
    await began.promise;
    node.annotate('net-f,net-b');
    gate.resolve();
    await adding;
    await eventually(() => node.status().map(({ name }) => name), ['cluster-net', 'default/net-f', 'default/net-b']);
    assert.deepEqual((await node.held()).reserved, ['cluster-net/10.244.0.2', 'net-b/10.2.0.2']);
  });
});

describe('while the API server fails', options, () => {
  type Api = LiveNode['api'];
  const isStatus = (method: string, path: string): boolean => method === 'PATCH' && path.includes('/status');
  const cases: readonly { readonly what: string; readonly fault: (api: Api) => void }[] = [
    { what: 'to write the status, 409', fault: (api) => api.fault({ match: isStatus, fail: 'Conflict', times: 3 }) },
    {
      what: 'to write the status, 500',
      fault: (api) => api.fault({ match: isStatus, fail: 'InternalError', times: 3 }),
    },
    {
      what: 'to write the status, whatever the attempts',
      fault: (api) => api.fault({ match: isStatus, fail: 'Forbidden', times: 2 }),
    },
    { what: 'to answer at all', fault: (api) => api.fault({ match: isStatus, reset: true, times: 3 }) },
    { what: 'to keep its watches', fault: (api) => api.cutWatches() },
    { what: 'to keep its history', fault: (api) => void [api.cutWatches(), api.forgetHistory()] },
    { what: 'to stay', fault: (api) => void api.restart() },
  ];
  for (const { what, fault } of cases) {
    test(`${what}, neither an attachment nor a status is lost`, async () => {
      await using node = await startLiveNode({ definitions });
      const sandbox = await node.addPod('net-a');
      fault(node.api);
      node.annotate('net-a,net-b');
      const done = node.has(['eth0', 'net1', 'net2']);
      const ticking = setInterval(() => node.passTime(), 50);
      await done.finally(() => clearInterval(ticking));
      assert.deepEqual(await node.links(sandbox), ['eth0', 'net1', 'net2']);
      node.annotate('net-b');
      await node.has(['eth0', 'net2']);
      assert.deepEqual((await node.held()).reserved, ['cluster-net/10.244.0.2', 'net-b/10.2.0.2']);
    });
  }
});
