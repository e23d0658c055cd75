import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkSandbox } from '../../src/attach/check.ts';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { deleteNamedNamespace } from '../../src/linux/namespace.ts';
import { ip } from '../plugins/support.ts';
import { becomeNodeWith } from '../support/node.ts';
import { macvlan, startNode } from './node.ts';

becomeNodeWith('ens5', 'ens6');

describe('ADD', () => {
  test('attaches the default network and those of the annotation, tells the pod, and DEL takes all back without a cluster', async () => {
    await using node = await startNode((ipam) => ({
      networks: '[{"name":"net-a"},{"name":"net-b","interface":"data0","mac":"02:00:00:00:00:0b"}]',
      definitions: {
        'net-a': macvlan(ipam, '10.1.0.0/24'),
        'net-b': macvlan(ipam, '10.2.0.0/24', { capabilities: { mac: true } }),
      },
    }));
    const before = await node.state();
    const result = await node.add();

    assert.deepEqual(
      result.ips.map(({ address }) => address),
      ['10.244.0.2/24'],
    );
    assert.deepEqual(await node.events(3), [
      'AddedInterface: Add eth0 [10.244.0.2/24] from cluster-net',
      'AddedInterface: Add net1 [10.1.0.2/24] from default/net-a',
      'AddedInterface: Add data0 [10.2.0.2/24] from default/net-b',
    ]);
    const links = await ip(node.sandbox.path, 'link');
    assert.deepEqual(
      links.map(({ ifname }) => ifname),
      ['lo', 'eth0', 'net1', 'data0'],
    );
    const mac = (name: string) => links.find(({ ifname }) => ifname === name)?.['address'];
    assert.equal(mac('data0'), '02:00:00:00:00:0b');
    assert.deepEqual(node.networkStatus(), [
      {
        name: 'cluster-net',
        interface: 'eth0',
        ips: ['10.244.0.2'],
        mac: mac('eth0'),
        mtu: 1500,
        default: true,
        dns: {},
        gateway: ['10.244.0.1'],
      },
      { name: 'default/net-a', interface: 'net1', ips: ['10.1.0.2'], mac: mac('net1'), mtu: 1500, dns: {} },
      { name: 'default/net-b', interface: 'data0', ips: ['10.2.0.2'], mac: mac('data0'), mtu: 1500, dns: {} },
    ]);
    await checkSandbox(node.attachment, node.journal, node.runner);

    await node.remove();
    assert.deepEqual(await node.state(), before);
    await assert.rejects(
      checkSandbox(node.attachment, node.journal, node.runner),
      (error) => error instanceof CniError && error.code === 3,
    );
  });

  test('a pod without the annotation gets the default network only', async () => {
    await using node = await startNode(() => ({}));
    await node.add();
    assert.deepEqual(await node.events(1), ['AddedInterface: Add eth0 [10.244.0.2/24] from cluster-net']);
    assert.equal(node.networkStatus().length, 1);
    await node.remove();
  });

  test('one network twice gives two interfaces, two addresses and two statuses', async () => {
    await using node = await startNode((ipam) => ({
      networks: 'net-a,net-a',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
    }));
    await node.add();
    assert.deepEqual(
      node.networkStatus().map(({ interface: name, ips }) => [name, ips]),
      [
        ['eth0', ['10.244.0.2']],
        ['net1', ['10.1.0.2']],
        ['net2', ['10.1.0.3']],
      ],
    );
    await node.remove();
  });

  test('limits that the pod asks for are set by the plugin that declares them, and go with the pod', async () => {
    await using node = await startNode((ipam) => ({
      networks:
        '[{"name":"net-a","bandwidth":{"ingressRate":8000000,"ingressBurst":800000,"egressRate":16000000,"egressBurst":800000}}]',
      definitions: {
        'net-a': {
          cniVersion: '1.0.0',
          plugins: [
            { type: 'bridge', bridge: 'br-limits', ipam: { ...ipam, subnet: '10.1.0.0/24' } },
            { type: 'bandwidth', capabilities: { bandwidth: true } },
          ],
        },
      },
    }));
    const limited = async () =>
      (await ip(undefined, 'link')).flatMap(({ ifname, qdisc }) =>
        qdisc === 'tbf' ? String(ifname).replace(/[0-9a-f]+$/, '') : [],
      );
    await node.add();
    assert.deepEqual((await limited()).sort(), ['bwp', 'veth']);
    await checkSandbox(node.attachment, node.journal, node.runner);
    await node.remove();
    assert.deepEqual(await limited(), []);
    await ip(undefined, 'link', 'delete', 'br-limits');
  });

  test('repeated, releases what the earlier one made first', async () => {
    await using node = await startNode((ipam) => ({
      networks: 'net-a',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
    }));
    const before = await node.state();
    await node.add();
    await node.add();
    assert.equal((await ip(node.sandbox.path, 'link')).length, 3);
    await node.remove();
    assert.deepEqual(await node.state(), before);
  });

  test('default-route moves the default route to the network that is named, and network-status says so', async () => {
    await using node = await startNode((ipam) => ({
      networks: '[{"name":"net-a","default-route":["10.1.0.1"]}]',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
    }));
    await node.add();
    const defaults = await ip(node.sandbox.path, 'route', 'show', 'default');
    assert.deepEqual(
      defaults.map(({ gateway, dev }) => [gateway, dev]),
      [['10.1.0.1', 'net1']],
    );
    assert.deepEqual(node.networkStatus()[1]?.['gateway'], ['10.1.0.1']);
    await node.remove();
  });
});

describe('an ADD that fails leaves nothing, and says what failed', () => {
  interface Case {
    readonly what: string;
    readonly networks: string;
    readonly definition?: (ipam: JsonObject) => JsonObject | string;
    readonly code: number;
    readonly message: RegExp;
    /** How many there are: one for each attachment that was made, and the failure. Default: 1, the failure. */
    readonly events?: number;
    /** Of the last one. Default: FailedAddingInterface. */
    readonly reason?: string;
  }
  const cases: readonly Case[] = [
    {
      what: 'annotation syntax that nobody knows',
      networks: 'a/b/c',
      code: 7,
      message:
        /^pod default\/app: annotation k8s\.v1\.cni\.cncf\.io\/networks: item 1, "a\/b\/c": expected \[namespace\//,
    },
    {
      what: 'malformed JSON in the annotation',
      networks: '[{"name": "net-a"',
      code: 7,
      message: /annotation k8s\.v1\.cni\.cncf\.io\/networks: not valid JSON/,
    },
    {
      what: 'a network that does not exist',
      networks: 'net-x',
      code: 7,
      reason: 'NoNetworkFound',
      message:
        /cannot find a network-attachment-definition \(net-x\) in namespace \(default\): the namespace has net-a/,
    },
    {
      what: 'malformed JSON in spec.config',
      networks: 'net-a',
      definition: () => '{ "type": "macvlan", }',
      code: 6,
      message:
        /NetworkAttachmentDefinition default\/net-a, spec\.config: line 1, column 22: expected a key in double quotes/,
    },
    {
      what: 'a wrong key in spec.config',
      networks: 'net-a',
      definition: (ipam) => macvlan(ipam, '10.1.0.0/24', { mtu: 'large' }),
      code: 7,
      events: 2,
      message: /network default\/net-a, interface net1: .*mtu: expected a number, found "large"/,
    },
    {
      what: 'a master that does not exist',
      networks: 'net-a',
      definition: (ipam) => macvlan(ipam, '10.1.0.0/24', { master: 'ens9' }),
      code: 7,
      events: 2,
      message: /network default\/net-a, interface net1: .*master "ens9" not found; this node has/,
    },
    {
      what: 'an exhausted range',
      networks: 'net-a,net-a',
      definition: (ipam) => macvlan({ ...ipam, rangeStart: '10.1.0.5', rangeEnd: '10.1.0.5' }, '10.1.0.0/24'),
      code: 999,
      events: 3,
      message:
        /network default\/net-a, interface net2: .*no IP addresses available in range set: 10\.1\.0\.5-10\.1\.0\.5 of network "net-a": 1 of 1 in use/,
    },
    {
      what: 'an interface name that is taken',
      networks: 'net-a@eth0',
      code: 7,
      message: /interface name eth0 already exists/,
    },
    {
      what: 'an interface name that is too long',
      networks: 'net-a@interface-number-1',
      code: 7,
      message: /interface: expected an interface name: 1 to 15 bytes/,
    },
    {
      what: 'a plugin that is nowhere',
      networks: 'net-a',
      definition: () => ({ cniVersion: '0.3.0', type: 'no-such-plugin' }),
      code: 999,
      events: 2,
      message: /network default\/net-a, interface net1: .*failed to find plugin "no-such-plugin" in path/,
    },
    {
      what: 'a network that would attach pods to networks',
      networks: 'net-a',
      definition: () => ({ cniVersion: '1.0.0', type: 'multus', clusterNetwork: 'net-a' }),
      code: 7,
      message: /network "net-a": type: expected a network plugin, found "multus", which attaches pods to networks/,
    },
    {
      what: 'addresses asked of a network that cannot give them',
      networks: '[{"name":"net-a","ips":["10.1.0.9"]}]',
      code: 7,
      message: /network default\/net-a: the pod asks for "ips", but no plugin .* declares the capability "ips"/,
    },
    {
      what: 'a gateway of a default route that cannot be reached',
      networks: '[{"name":"net-a","default-route":["192.0.2.1"]}]',
      code: 7,
      events: 3,
      message:
        /network default\/net-a, interface net1: the pod's default route via 192\.0\.2\.1 cannot be made: .*network is unreachable/,
    },
  ];
  for (const { what, networks, definition, code, message, events = 1, reason = 'FailedAddingInterface' } of cases) {
    test(what, async () => {
      await using node = await startNode((ipam) => ({
        networks,
        definitions: { 'net-a': definition?.(ipam) ?? macvlan(ipam, '10.1.0.0/24') },
      }));
      const before = await node.state();
      let told = '';
      await assert.rejects(node.add(), (error) => {
        assert.ok(error instanceof CniError);
        assert.match(error.message, message);
        assert.equal(error.code, code);
        told = error.message.replace(/^pod default\/app: /, `${reason}: `);
        return true;
      });
      assert.deepEqual(await node.state(), before);
      assert.ok((await node.events(events)).at(-1)?.startsWith(told), told);
      assert.deepEqual(node.networkStatus(), []);
    });
  }

  test('a namespace that is gone', async () => {
    await using node = await startNode(() => ({}));
    await deleteNamedNamespace(node.sandbox.path);
    await assert.rejects(
      node.add(),
      (error) =>
        error instanceof CniError && error.code === 8 && /failed to open netns "\/run\/netns\//.test(error.message),
    );
    assert.deepEqual(await node.journal.list(), []);
  });

  test('a status that the API server refuses', async () => {
    await using node = await startNode((ipam) => ({
      networks: 'net-a',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
    }));
    const before = await node.state();
    node.api.fault({ match: (method) => method === 'PATCH', fail: 'Forbidden' });
    await assert.rejects(node.add(), /Forbidden|as the test wants it/);
    assert.deepEqual(await node.state(), before);
  });

  test('a disk that fails as the pod has been told already: the pod is told otherwise', async (t) => {
    await using node = await startNode((ipam) => ({
      networks: 'net-a',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
    }));
    const before = await node.state();
    await using file = await open(node.directory);
    const told: string[] = [];
    t.mock.method(Object.getPrototypeOf(file), 'datasync', async () => {
      while (node.networkStatus().length === 0) await sleep(1);
      told.push(...node.networkStatus().map(({ interface: name }) => String(name)));
      throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
    });
    await assert.rejects(node.add(), /EIO: i\/o error/);
    assert.deepEqual(told, ['eth0', 'net1']);
    assert.deepEqual(node.networkStatus(), []);
    assert.deepEqual(await node.state(), before);
  });

  test('the code and the details are those of the plugin that failed', async () => {
    await using node = await startNode((ipam) => ({
      networks: 'net-a,net-b',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24'), 'net-b': { cniVersion: '1.0.0', type: 'faulty' } },
    }));
    const before = await node.state();
    node.faults.add = new CniError(111, 'no more circuits', 'ask the carrier');
    await assert.rejects(node.add(), (error) => {
      assert.ok(error instanceof CniError);
      assert.equal(error.code, 111);
      assert.equal(error.details, 'ask the carrier');
      assert.match(error.message, /network default\/net-b, interface net2: .*no more circuits$/);
      return true;
    });
    assert.deepEqual(await node.state(), before);
    const failed = node.reports.filter(({ error }) => error !== undefined);
    assert.deepEqual(
      failed.map(({ command, planned, plugin }) => [command, planned.network, plugin]),
      [['ADD', 'default/net-b', 'faulty']],
    );
  });
});

describe('what cannot be released', () => {
  test('after a failed ADD is told, stays in the journal, and goes with the next DEL', async () => {
    await using node = await startNode((ipam) => ({
      networks: 'net-a,net-b',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24'), 'net-b': { cniVersion: '1.0.0', type: 'faulty' } },
    }));
    const before = await node.state();
    node.faults.add = new CniError(999, 'no more circuits');
    node.faults.delete = new CniError(999, 'the circuit hangs');
    await assert.rejects(node.add(), (error) => {
      assert.ok(error instanceof CniError);
      assert.match(error.message, /no more circuits/);
      assert.match(error.details, /still held: network default\/net-b, interface net2: .*the circuit hangs/);
      return true;
    });
    const { journal, ...left } = { journal: [], ...(await node.state()) };
    assert.equal(journal.length, 1);
    assert.partialDeepStrictEqual(before, left);
    node.faults.delete = undefined;
    await node.remove();
    assert.deepEqual(await node.state(), before);
  });

  test('at DEL does not keep the others, and is tried alone by the next DEL', async () => {
    await using node = await startNode((ipam) => ({
      networks: 'net-b,net-a',
      definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24'), 'net-b': { cniVersion: '1.0.0', type: 'faulty' } },
    }));
    const before = await node.state();
    await node.add();
    node.faults.delete = new CniError(111, 'the circuit hangs');
    await assert.rejects(
      node.remove(),
      (error) =>
        error instanceof CniError && error.code === 111 && /^still held: network default\/net-b/.test(error.message),
    );
    assert.equal((await ip(node.sandbox.path, 'link')).length, 1);
    node.faults.delete = undefined;
    const already = node.reports.length;
    await node.remove('');
    assert.deepEqual(
      node.reports.slice(already).map(({ planned }) => planned.ifName),
      ['net1'],
    );
    assert.deepEqual(await node.state(), before);
  });
});
