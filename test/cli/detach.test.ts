import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { type LiveNode, macvlan, startLiveNode } from '../daemon/live/node.ts';
import { ip } from '../plugins/support.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { run } from './plexus.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const timeout = 120_000;

const definitions = (ipam: JsonObject): Readonly<Record<string, JsonObject>> => ({
  'net-a': macvlan(ipam, '10.1.0.0/24'),
  'net-b': macvlan(ipam, '10.2.0.0/24'),
  'net-f': { cniVersion: '1.0.0', type: 'faulty' },
});

const plexus = (node: LiveNode, ...args: readonly string[]) =>
  run([...args, '--kubeconfig', join(node.directory, 'kubeconfig'), '--socket-dir', join(node.directory, 'run')]);

describe('plexus detach', { timeout }, () => {
  test('takes one of several networks of a name out of the annotation, and waits until it is detached', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a,net-a,net-b');
    const { status, stdout, stderr } = await plexus(node, 'detach', 'app', 'net1');
    assert.equal(status, 0, stderr);
    assert.deepEqual(stdout.split('\n'), [
      'POD           INTERFACE   NETWORK         STATE',
      'default/app   net1        default/net-a   detached',
      '',
    ]);
    assert.equal(node.annotation(), 'net-a@net2,net-b');
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net2', 'net3']);
  });

  test('by its network, of a pod named with its namespace, as JSON', async () => {
    await using node = await startLiveNode({ definitions });
    await node.addPod('net-a,net-b');
    const { stdout } = await plexus(node, 'detach', 'default/app', 'net-b', '-o', 'json');
    assert.deepEqual(JSON.parse(stdout), {
      apiVersion: 'plexus/v1',
      kind: 'AttachmentChangeList',
      items: [{ pod: 'default/app', interface: 'net2', network: 'default/net-b', state: 'detached' }],
    });
  });

  test('tells what the daemon could not do', async () => {
    await using node = await startLiveNode({ definitions });
    await node.addPod('net-a,net-f');
    node.faults.delete = new CniError(111, 'the circuit hangs');
    const { status, stdout, stderr } = await plexus(node, 'detach', 'app', 'net2');
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(
      stderr,
      /^plexus: FailedRemovingInterface: network default\/net-f, interface net2: .*the circuit hangs; it is tried again/,
    );
    assert.equal(node.annotation(), 'net-a');
  });

  test('does not wait for a daemon that is not asked to be waited for, and gives up one that does not follow', async () => {
    await using node = await startLiveNode({ definitions });
    await node.addPod('net-a,net-b');
    await node.stop();
    const { stdout } = await plexus(node, 'detach', 'app', 'net2', '--timeout', '0');
    assert.match(stdout, /net2 +default\/net-b +requested/);
    const { status, stderr } = await plexus(node, 'detach', 'app', 'net1', '--timeout', '1');
    assert.equal(status, 1);
    assert.match(stderr, /the network-status of the pod has not followed within 1 s; see whether the daemon/);
    await node.start();
    await node.has(['eth0']);
  });

  for (const [what, args, message] of [
    [
      'an interface that nobody asked for',
      ['app', 'eth0'],
      /eth0 is none of the networks .* one of: net1 \(default\/net-a\)/,
    ],
    ['a pod that is not there', ['other', 'net1'], /404 NotFound/],
    ['what is no pod', ['a/b/c', 'net1'], /"a\/b\/c": expected a pod/],
  ] as const) {
    test(`refuses ${what}, and changes nothing`, async () => {
      await using node = await startLiveNode({ definitions });
      await node.addPod('net-a');
      const { status, stderr } = await plexus(node, 'detach', ...args);
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.equal(node.annotation(), 'net-a');
    });
  }
});

describe('plexus detach --now', { timeout }, () => {
  test('detaches without the API server, and what it detached stays away until the annotation has given it up', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod('net-a,net-b');
    await node.api.close();
    const { status, stdout, stderr } = await plexus(node, 'detach', 'app', 'net1', '--now');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^default\/app +net1 +default\/net-a +held$/m);
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net2']);
    await node.api.restart();
    await node.stop();
    await node.start();
    node.annotate('net-a,net-b,net-b');
    await node.has(['eth0', 'net2', 'net3']);
    node.annotate('net-b,net-b');
    node.annotate('net-b,net-b,net-f@f');
    await node.has(['eth0', 'net2', 'net3', 'f']);
    node.annotate('net-b,net-b,net-a');
    await node.has(['eth0', 'net2', 'net3', 'net1']);
    assert.deepEqual(await node.links(sandbox), ['eth0', 'net2', 'net3', 'net1']);
  });

  for (const [what, args, message] of [
    [
      'an interface that nobody asked for',
      ['app', 'eth0'],
      /no network that its annotation asked for is attached as eth0/,
    ],
    [
      'a network that is attached several times',
      ['app', 'default/net-b'],
      /attached to default\/net-b several times: name one of the interfaces net2, net3/,
    ],
    ['a pod that was not attached here', ['other', 'net1'], /Plexus has attached no such pod on this node/],
  ] as const) {
    test(`refuses ${what}`, async () => {
      await using node = await startLiveNode({ definitions });
      await node.addPod('net-a,net-b,net-b');
      const { status, stderr } = await plexus(node, 'detach', ...args, '--now');
      assert.equal(status, 1);
      assert.match(stderr, message);
    });
  }

  test('says that no daemon answers', async () => {
    await using node = await startLiveNode({ definitions });
    await node.stop();
    const { status, stderr } = await plexus(node, 'detach', 'app', 'net1', '--now');
    assert.equal(status, 1);
    assert.match(stderr, /no daemon answers at .*plexus\.sock; give the options that the daemon has, or start it/);
  });
});

describe('plexus attach', { timeout }, () => {
  test('adds a network to the annotation, and waits until it is attached', async () => {
    await using node = await startLiveNode({ definitions });
    const sandbox = await node.addPod();
    const { status, stdout, stderr } = await plexus(node, 'attach', 'app', 'net-a@data0', '-o', 'wide');
    assert.equal(status, 0, stderr);
    assert.deepEqual(stdout.split('\n'), [
      'POD           INTERFACE   NETWORK         STATE      ADDRESSES',
      'default/app   data0       default/net-a   attached   10.1.0.2',
      '',
    ]);
    assert.equal(node.annotation(), 'net-a@data0');
    assert.deepEqual(await node.links(sandbox), ['eth0', 'data0']);
  });

  test('tells what the daemon could not do', async () => {
    await using node = await startLiveNode({ definitions });
    await node.addPod('net-a');
    const { status, stderr } = await plexus(node, 'attach', 'app', 'net-x');
    assert.equal(status, 1);
    assert.match(stderr, /^plexus: FailedAddingInterface: cannot find a network-attachment-definition \(net-x\)/);
  });
});
