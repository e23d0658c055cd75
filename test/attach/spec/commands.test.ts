import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CniError } from '../../../src/cni/error.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import { type CniVersion, cniVersions } from '../../../src/cni/version.ts';
import type { Answer } from '../../../src/daemon/frame.ts';
import {
  networkAttachmentDefinitions as networkResource,
  pods as podResource,
} from '../../../src/playground/api/resources.ts';
import { type Api, startApi } from '../../../src/playground/api/server.ts';
import { fakePlugin } from '../../cni/support.ts';
import { type Call, type Node, startNode } from '../../daemon/node.ts';
import { network, pod } from '../../playground-api/manifests.ts';
import { testDirectory } from '../../support/directory.ts';
import { testNamespace } from '../../support/namespace.ts';
import { becomeNodeWith } from '../../support/node.ts';

/* The commands of the CNI specification 1.1.0, sections 2, 3 and 5, as the runtime gives them to the meta-plugin. */

becomeNodeWith();

const timeout = 60_000;

const done: Answer = { exitStatus: 0, stdout: '' };

/** An answer that is an error, without what only people read. */
function errorOf({ exitStatus, stdout }: Answer): { code: number; msg: string; cniVersion: string } {
  assert.equal(exitStatus, 1, stdout);
  return JSON.parse(stdout);
}

const interfaceResult = {
  interfaces: [{ name: 'eth0', sandbox: '/run/netns/a' }],
  ips: [{ address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 0 }],
  routes: [{ dst: '0.0.0.0/0' }],
  dns: {},
};

const valid = (...sandboxes: readonly string[]): JsonObject => ({
  'cni.dev/valid-attachments': sandboxes.map((containerID) => ({ containerID, ifname: 'eth0' })),
});

/** An executed plugin of 1.1.0 that writes what it was called for, and with what, a line each. */
async function install(node: Node, type: string, fails = ''): Promise<() => Promise<JsonObject[]>> {
  const file = join(node.directory, `${type}.calls`);
  const script = `#!/bin/sh
input=$(cat)
echo "{\\"command\\":\\"$CNI_COMMAND\\",\\"sandbox\\":\\"$CNI_CONTAINERID\\",\\"input\\":$input}" >> '${file}'
[ "$CNI_COMMAND" = '${fails}' ] && { echo '{"cniVersion":"1.1.0","code":50,"msg":"no addresses"}'; exit 1; }
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0"}'
exit 0
`;
  await writeFile(join(node.directory, 'bin', type), script, { mode: 0o755 });
  return async () => {
    const lines = await readFile(file, 'utf8').catch(() => '');
    return lines
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  };
}

/** Gives the node another default network. */
async function setDefaultNetwork(node: Node, config: JsonObject): Promise<void> {
  const list = { cniVersion: '1.1.0', name: 'default', ...config };
  await writeFile(join(node.directory, 'net.d/10-default.conflist'), JSON.stringify(list));
}

const journalOf = (node: Node): Promise<string[]> => readdir(join(node.directory, 'state/journal'));

describe('CNI 1.1.0 §2 "cniVersion": each command is answered in the version of the question', { timeout }, () => {
  const since: Readonly<Record<string, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };
  for (const cniVersion of cniVersions) {
    for (const [command, first] of Object.entries(since)) {
      const isThere = cniVersions.indexOf(cniVersion) >= cniVersions.indexOf(first);
      test(`${command} at ${cniVersion} ${isThere ? 'is answered' : 'is refused with code 1'}`, async () => {
        await using node = await startNode({ plugins: [fakePlugin()] });
        assert.equal((await node.call({ command: 'ADD', config: { cniVersion } })).exitStatus, 0);
        const answer = await node.call({ command, config: { cniVersion, ...valid('c1') } });
        if (isThere) return assert.deepEqual(answer, done);
        const details = `config is "${cniVersion}", ${command} exists from ${first}`;
        const expected = { cniVersion, code: 1, msg: `config version does not allow ${command}`, details };
        assert.deepEqual(errorOf(answer), expected);
      });
    }

    test(`VERSION at ${cniVersion} tells that version and all that are supported`, async () => {
      await using node = await startNode({ plugins: [] });
      const { exitStatus, stdout } = await node.call({ command: 'VERSION', stdin: JSON.stringify({ cniVersion }) });
      assert.deepEqual([exitStatus, JSON.parse(stdout)], [0, { cniVersion, supportedVersions: cniVersions }]);
    });

    test(`ADD and DEL at ${cniVersion}: the result has that version's form, an error its version`, async () => {
      await using node = await startNode({ plugins: [fakePlugin({ result: interfaceResult })] });
      const { stdout } = await node.call({ command: 'ADD', config: { cniVersion } });
      assert.deepEqual(JSON.parse(stdout), { cniVersion, ...resultIn(cniVersion) });
      assert.deepEqual(await node.call({ command: 'DEL', config: { cniVersion } }), done);
      const refused = await node.call({ command: 'ADD', config: { cniVersion }, env: { CNI_IFNAME: '' } });
      assert.equal(errorOf(refused).cniVersion, cniVersion);
    });
  }

  test('a version that nobody knows is refused', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    const answer = await node.call({ command: 'ADD', config: { cniVersion: '9.0.0' } });
    assert.equal(errorOf(answer).code, 7);
    assert.match(errorOf(answer).msg, /cniVersion: expected a cniVersion from 0\.1\.0 to 1\.1\.0, found "9\.0\.0"/);
  });
});

/** {@link interfaceResult} as each version writes it: sections "Result" of 0.2.0, 0.4.0 and 1.0.0. */
function resultIn(version: CniVersion): JsonObject {
  const { interfaces, routes } = interfaceResult;
  const [address] = interfaceResult.ips;
  if (version === '0.1.0' || version === '0.2.0') {
    return { ip4: { ip: '10.1.0.2/24', gateway: '10.1.0.1', routes }, dns: {} };
  }
  const isOld = version.startsWith('0.');
  return { interfaces, ips: [{ ...(isOld && { version: '4' }), ...address }], routes, ...(isOld && { dns: {} }) };
}

describe('CNI 1.1.0 §2 "Parameters": a command without one of its variables is refused with code 4', {
  timeout,
}, () => {
  const required: Readonly<Record<string, readonly string[]>> = {
    ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
    CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
    DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
    GC: ['CNI_PATH'],
    STATUS: ['CNI_PATH'],
    VERSION: [],
  };
  const variables = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'];
  for (const [command, names] of Object.entries(required)) {
    test(`${command} needs ${names.join(', ') || 'none'}, and no more`, async () => {
      await using node = await startNode({ plugins: [fakePlugin()] });
      await node.call({ command: 'ADD' });
      for (const name of variables) {
        const answer = await node.call({ command, env: { [name]: '' }, config: valid('c1') });
        if (!names.includes(name)) assert.equal(answer.exitStatus, 0, answer.stdout);
        else {
          const { code, msg } = errorOf(answer);
          assert.deepEqual([code, msg], [4, `required env variables [${name}] missing`]);
        }
      }
    });
  }
});

/** A node with a cluster; its pod default/app asks for the network net-a, of the plugin `second`. */
async function clusterNode(plugins: Parameters<typeof fakePlugin>[0][], config: JsonObject = {}) {
  const stack = new AsyncDisposableStack();
  const directory = stack.use(await testDirectory());
  const objects = [
    pod('app', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'net-a' } }),
    network('net-a', JSON.stringify({ cniVersion: '1.1.0', type: 'second' })),
  ];
  const api: Api = stack.use(await startApi({ objects }));
  const kubeconfig = join(directory.path, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig());
  const own = { cluster: true, kubeconfig, nodeName: 'node-1', ...config };
  const node = stack.use(await startNode({ plugins: plugins.map(fakePlugin) }, own));
  const sandbox = stack.use(await testNamespace());
  const env = { CNI_NETNS: sandbox.path, CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=app' };
  return {
    api,
    node,
    call: (call: Call): Promise<Answer> => node.call({ ...call, env: { ...env, ...call.env } }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

type ClusterNode = Awaited<ReturnType<typeof clusterNode>>;

describe('CNI 1.1.0 §2 "DEL": succeeds, and releases every attachment, last first,', { timeout }, () => {
  interface Case {
    readonly without: string;
    readonly before: (given: ClusterNode) => unknown;
    readonly call?: Omit<Call, 'command'>;
  }
  const cases: readonly Case[] = [
    { without: 'with all that ADD had', before: () => undefined },
    { without: 'without the pod', before: ({ api }) => api.store.delete(podResource, 'default', 'app') },
    { without: 'without the API server', before: ({ api }) => api.close() },
    {
      without: 'without the NetworkAttachmentDefinition',
      before: ({ api }) => api.store.delete(networkResource, 'default', 'net-a'),
    },
    {
      without: 'with a NetworkAttachmentDefinition that is of another plugin by now',
      before({ api }) {
        const now = api.store.get(networkResource, 'default', 'net-a');
        api.store.update({ ...now, spec: { config: '{"cniVersion":"1.1.0","type":"third"}' } });
      },
    },
    {
      without: "without the default network's configuration",
      before: ({ node }) => rm(join(node.directory, 'net.d/10-default.conflist')),
    },
    { without: 'without CNI_NETNS', before: () => undefined, call: { env: { CNI_NETNS: '' } } },
    {
      without: 'without the namespace of CNI_NETNS',
      before: () => undefined,
      call: { env: { CNI_NETNS: '/run/netns/plx-gone' } },
    },
    { without: 'without CNI_ARGS', before: () => undefined, call: { env: { CNI_ARGS: '' } } },
    {
      without: 'without anything of these',
      async before({ api, node }) {
        await rm(join(node.directory, 'net.d/10-default.conflist'));
        await api.close();
      },
      call: { env: { CNI_NETNS: '', CNI_ARGS: '' } },
    },
    { without: 'after the daemon was started anew', before: ({ node }) => node.restart() },
  ];
  for (const { without, before, call } of cases) {
    test(`${without}, and does so twice`, async () => {
      const calls: string[] = [];
      await using given = await clusterNode([{ calls }, { type: 'second', calls }]);
      const added = await given.call({ command: 'ADD' });
      assert.equal(added.exitStatus, 0, added.stdout);
      await before(given);
      assert.deepEqual(await given.call({ command: 'DEL', ...call }), done);
      assert.deepEqual(calls, ['ADD fake', 'ADD second', 'DEL second', 'DEL fake']);
      assert.deepEqual(await journalOf(given.node), []);
      assert.deepEqual(await given.call({ command: 'DEL', ...call }), done);
    });
  }

  test('of a sandbox that was never added, wherever the default network is looked for', async () => {
    const calls: string[] = [];
    await using given = await clusterNode([{ calls }]);
    for (const clusterNetwork of ['default', 'nowhere', '/nowhere/at-all']) {
      assert.deepEqual(await given.call({ command: 'DEL', config: { clusterNetwork } }), done);
    }
    // Another meta-plugin may have added it: where there is a default network, it is asked.
    assert.deepEqual(calls, ['DEL fake']);
    await given.api.close();
    assert.deepEqual(await given.call({ command: 'DEL', config: { clusterNetwork: 'in-the-api' } }), done);
  });
});

describe('CNI 1.1.0 §3 "Deleting an attachment": one delegate that fails', { timeout }, () => {
  for (const failing of ['fake', 'second']) {
    test(`${failing}: the other is released all the same, and the error stays for as long as something is held`, async () => {
      const calls: string[] = [];
      const fails = { DEL: new CniError(5, 'the switch is away') };
      const types = ['fake', 'second'];
      const plugins = types.map((type) => ({ type, calls, ...(type === failing && { fails }) }));
      await using given = await clusterNode(plugins);
      await given.call({ command: 'ADD' });
      const where = failing === 'fake' ? 'network default, interface eth0' : 'network default/net-a, interface net1';
      for (const again of [false, true]) {
        calls.length = 0;
        const { code, msg } = errorOf(await given.call({ command: 'DEL' }));
        assert.equal(code, 5);
        assert.ok(msg.startsWith(`still held: ${where}: `) && msg.endsWith('the switch is away'), msg);
        assert.deepEqual(calls, again ? [`DEL ${failing}`] : ['DEL second', 'DEL fake']);
        assert.deepEqual(await journalOf(given.node), ['c1:eth0']);
      }
      await given.node.restart({ plugins: types.map((type) => fakePlugin({ type, calls })) });
      calls.length = 0;
      assert.deepEqual(await given.call({ command: 'DEL' }), done);
      assert.deepEqual(calls, [`DEL ${failing}`]);
      assert.deepEqual(await journalOf(given.node), []);
    });
  }
});

describe('CNI 1.1.0 §2 "CHECK"', { timeout }, () => {
  test('each attachment is checked, in order, with the result of its ADD and what its configuration was', async () => {
    const calls: string[] = [];
    await using given = await clusterNode([{ calls }, { type: 'second', calls }]);
    await given.call({ command: 'ADD' });
    calls.length = 0;
    given.api.store.delete(networkResource, 'default', 'net-a');
    assert.deepEqual(await given.call({ command: 'CHECK' }), done);
    assert.deepEqual(calls, ['CHECK fake', 'CHECK second']);
  });

  test('the plugin is given the result of its ADD as prevResult', async () => {
    const plugin = fakePlugin({ result: interfaceResult });
    await using node = await startNode({ plugins: [plugin] });
    await node.call({ command: 'ADD' });
    await node.call({ command: 'CHECK' });
    assert.deepEqual(plugin.configs[1]?.['prevResult'], { cniVersion: '1.1.0', ...resultIn('1.1.0') });
  });

  test("the first complaint is the answer, with the plugin's code and the network's name", async () => {
    const calls: string[] = [];
    const fails = { CHECK: new CniError(104, 'an address is missing') };
    await using given = await clusterNode([
      { calls, fails },
      { type: 'second', calls },
    ]);
    await given.call({ command: 'ADD' });
    calls.length = 0;
    const { code, msg } = errorOf(await given.call({ command: 'CHECK' }));
    assert.equal(code, 104);
    assert.match(
      msg,
      /^network default, interface eth0: plugin type="fake" name="default" failed \(check\): an address/,
    );
    assert.deepEqual(calls, ['CHECK fake']);
  });

  for (const [what, before] of [
    ['was never added', []],
    ['was deleted', ['ADD', 'DEL']],
  ] as const) {
    test(`of a sandbox that ${what} is refused with code 3`, async () => {
      await using node = await startNode({ plugins: [fakePlugin()] });
      for (const command of before) assert.equal((await node.call({ command })).exitStatus, 0);
      assert.equal(errorOf(await node.call({ command: 'CHECK' })).code, 3);
    });
  }

  test('a delegate whose configuration is older than CHECK counts as good', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin] });
    await setDefaultNetwork(node, { cniVersion: '0.3.1', plugins: [{ type: 'fake' }] });
    await node.call({ command: 'ADD' });
    assert.deepEqual(await node.call({ command: 'CHECK' }), done);
    assert.deepEqual(plugin.calls, ['ADD fake']);
  });
});

describe('CNI 1.1.0 §1 "disableCheck" and "disableGC", as true or false or the words for them', { timeout }, () => {
  const values: readonly (readonly [value: boolean | string, disables: boolean])[] = [
    [true, true],
    ['true', true],
    ['True', true],
    ['1', true],
    [false, false],
    ['false', false],
    ['0', false],
  ];
  for (const [value, disables] of values) {
    for (const [key, command] of [
      ['disableCheck', 'CHECK'],
      ['disableGC', 'GC'],
    ] as const) {
      test(`${key}: ${JSON.stringify(value)} ${disables ? 'keeps' : 'does not keep'} plugins from ${command}`, async () => {
        const plugin = fakePlugin();
        await using node = await startNode({ plugins: [plugin] });
        await setDefaultNetwork(node, { [key]: value, plugins: [{ type: 'fake' }] });
        await node.call({ command: 'ADD' });
        assert.deepEqual(await node.call({ command, config: valid('c1') }), done);
        assert.deepEqual(plugin.calls, disables ? ['ADD fake'] : ['ADD fake', `${command} fake`]);
      });
    }
  }
});

describe('CNI 1.1.0 §2 and §3 "GC"', { timeout }, () => {
  test('what the runtime does not name is deleted, then each plugin is told what is valid, under both keys', async () => {
    await using node = await startNode({ plugins: [] }, {}, 'executed');
    const calls = await install(node, 'executed');
    for (const sandbox of ['kept', 'lost']) await node.call({ command: 'ADD', sandbox });
    assert.deepEqual(await node.call({ command: 'GC', config: valid('kept') }), done);
    const [, , deleted, collected, ...more] = await calls();
    assert.deepEqual([deleted?.['command'], deleted?.['sandbox']], ['DEL', 'lost']);
    const list = valid('kept')['cni.dev/valid-attachments'];
    assert.deepEqual(collected, {
      command: 'GC',
      sandbox: '',
      input: {
        type: 'executed',
        cniVersion: '1.1.0',
        name: 'default',
        'cni.dev/valid-attachments': list,
        'cni.dev/attachments': list,
      },
    });
    assert.deepEqual(more, []);
    assert.deepEqual(await journalOf(node), ['kept:eth0']);
  });

  test('a network of an annotation is told its own interfaces, and once more when the last of them was stale', async () => {
    const second = fakePlugin({ type: 'second' });
    await using given = await clusterNode([{}]);
    await given.node.restart({ plugins: [fakePlugin(), second] });
    await given.call({ command: 'ADD' });
    assert.deepEqual(await given.call({ command: 'GC', config: valid('c1') }), done);
    assert.deepEqual(await given.call({ command: 'GC', config: valid() }), done);
    assert.deepEqual(second.calls, ['ADD second', 'GC second', 'DEL second', 'GC second']);
    const told = second.configs.flatMap((config) => config['cni.dev/valid-attachments'] ?? []);
    assert.deepEqual(told, [{ containerID: 'c1', ifname: 'net1' }]);
  });

  test('networks that pods get without asking are collected before anyone is attached to them', async () => {
    const calls: string[] = [];
    const plugins = ['fake', 'further'].map((type) => fakePlugin({ type, calls }));
    await using node = await startNode({ plugins }, { defaultNetworks: ['further'] });
    const further = { cniVersion: '1.1.0', name: 'further', plugins: [{ type: 'further' }] };
    await writeFile(join(node.directory, 'net.d/20-further.conflist'), JSON.stringify(further));
    assert.deepEqual(await node.call({ command: 'GC', config: valid() }), done);
    assert.deepEqual(calls, ['GC fake', 'GC further']);
  });

  test('one network that fails keeps none of the others from being collected, and is told', async () => {
    const calls: string[] = [];
    const fails = { GC: new CniError(5, 'the switch is away') };
    await using given = await clusterNode([
      { calls, fails },
      { type: 'second', calls },
    ]);
    await given.call({ command: 'ADD' });
    calls.length = 0;
    const { code, msg } = errorOf(await given.call({ command: 'GC', config: valid('c1') }));
    assert.equal(code, 999);
    assert.match(msg, /^not all could be collected: network default: .*the switch is away$/);
    assert.deepEqual(calls, ['GC fake', 'GC second']);
  });

  test('without the API server, and without the configuration of the default network, what is stale is released', async () => {
    const calls: string[] = [];
    await using given = await clusterNode([{ calls }, { type: 'second', calls }]);
    await given.call({ command: 'ADD' });
    await given.api.close();
    await rm(join(given.node.directory, 'net.d/10-default.conflist'));
    calls.length = 0;
    const { msg } = errorOf(await given.call({ command: 'GC', config: valid() }));
    assert.equal(msg, 'not all could be collected: the default network was not found');
    assert.deepEqual(calls, ['DEL second', 'DEL fake', 'GC fake', 'GC second']);
    assert.deepEqual(await journalOf(given.node), []);
  });

  test('without cni.dev/valid-attachments it is refused: all that is attached would be stale', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin] });
    await node.call({ command: 'ADD' });
    const { code, msg } = errorOf(await node.call({ command: 'GC' }));
    assert.equal(code, 7);
    assert.match(msg, /cni\.dev\/valid-attachments/);
    assert.deepEqual(await journalOf(node), ['c1:eth0']);
  });

  test('a delegate whose configuration is older than GC is not asked', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin] });
    await setDefaultNetwork(node, { cniVersion: '1.0.0', plugins: [{ type: 'fake' }] });
    assert.deepEqual(await node.call({ command: 'GC', config: valid() }), done);
    assert.deepEqual(plugin.calls, []);
  });
});

describe('CNI 1.1.0 §2 "STATUS"', { timeout }, () => {
  for (const code of [50, 51]) {
    test(`a delegate's error ${code} is the answer`, async () => {
      const fails = { STATUS: new CniError(code, 'no route to the fabric') };
      await using node = await startNode({ plugins: [fakePlugin({ fails })] });
      const answer = errorOf(await node.call({ command: 'STATUS' }));
      assert.equal(answer.code, code);
      assert.match(answer.msg, /plugin type="fake" name="default" failed \(status\): no route to the fabric$/);
    });
  }

  test("that of an executed delegate is: it is executed with its network's configuration", async () => {
    await using node = await startNode({ plugins: [] }, {}, 'executed');
    const calls = await install(node, 'executed', 'STATUS');
    const { code, msg } = errorOf(await node.call({ command: 'STATUS' }));
    assert.equal(code, 50);
    assert.match(msg, /no addresses$/);
    const input = { type: 'executed', cniVersion: '1.1.0', name: 'default' };
    assert.deepEqual(await calls(), [{ command: 'STATUS', sandbox: '', input }]);
  });

  test('every network that pods get without asking is asked', async () => {
    const fails = { STATUS: new CniError(50, 'no route to the fabric') };
    const plugins = [fakePlugin(), fakePlugin({ type: 'further', fails })];
    await using node = await startNode({ plugins }, { defaultNetworks: ['further'] });
    const further = { cniVersion: '1.1.0', name: 'further', plugins: [{ type: 'further' }] };
    await writeFile(join(node.directory, 'net.d/20-further.conflist'), JSON.stringify(further));
    assert.match(errorOf(await node.call({ command: 'STATUS' })).msg, /name="further" failed \(status\)/);
  });

  test('a default network that is nowhere is an error that tells where it was looked for', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    await rm(join(node.directory, 'net.d/10-default.conflist'));
    const { code, msg } = errorOf(await node.call({ command: 'STATUS' }));
    assert.equal(code, 7);
    assert.match(msg, /^the default network, clusterNetwork "default", was not found; looked for/);
  });

  /** Until the daemon knows how it stands with the API server. */
  async function followed({ node }: ClusterNode, isFollowed: boolean): Promise<void> {
    const ready = `http://127.0.0.1:${node.daemon.metricsPort}/readyz`;
    while ((await fetch(ready)).ok !== isFollowed) await new Promise(setImmediate);
  }

  for (const [what, clusterNetwork, fails, expected] of [
    ['away', 'default', {}, /^the Kubernetes API cannot be followed: .*ECONNREFUSED/],
    ['away with the default network in it', 'in-the-api', {}, /^the Kubernetes API cannot be followed: .*ECONNREFUSED/],
    [
      'away as well as a plugin',
      'default',
      { STATUS: new CniError(50, 'no route') },
      /failed \(status\): no route; the Kubernetes API cannot be followed/,
    ],
  ] as const) {
    test(`an API server that is ${what} is told, with code 50`, async () => {
      await using given = await clusterNode([{ fails }]);
      await followed(given, true);
      await given.api.close();
      await followed(given, false);
      const { code, msg } = errorOf(await given.call({ command: 'STATUS', config: { clusterNetwork } }));
      assert.equal(code, 50);
      assert.match(msg, expected);
    });
  }
});

test('CNI 1.1.0 §3 "Lifecycle & Ordering": nobody waits behind an ADD that waits for the default network', {
  timeout,
}, async () => {
  await using node = await startNode({ plugins: [fakePlugin()] }, { connectionLimit: 1 });
  const file = join(node.directory, 'ready');
  const config = { readinessindicatorfile: file };
  let added = false;
  const adding = node.call({ command: 'ADD', sandbox: 'waiting', config });
  void adding.then(() => {
    added = true;
  });
  assert.deepEqual(await node.call({ command: 'GC', config: { ...config, ...valid() } }), done);
  assert.equal(errorOf(await node.call({ command: 'STATUS', config })).code, 50);
  assert.equal((await node.call({ command: 'VERSION' })).exitStatus, 0);
  assert.deepEqual(await node.call({ command: 'DEL', sandbox: 'other', config }), done);
  assert.equal((await node.call({ command: 'ADD', sandbox: 'other' })).exitStatus, 0);
  assert.equal(added, false);
  await writeFile(file, '');
  assert.equal((await adding).exitStatus, 0);
});
