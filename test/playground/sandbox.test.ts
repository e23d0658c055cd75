import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { links } from '../../src/linux/link.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { Pause } from '../../src/playground/pause.ts';
import { type CniSetup, Sandbox } from '../../src/playground/sandbox.ts';

const options = { timeout: 60_000 };

const pod = { namespace: 'shop', name: 'till-0', uid: '6f0d2c1e-0000-4000-8000-000000000000' };

const result = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'eth0', sandbox: '/x' }],
  ips: [{ address: '10.0.0.2/24', interface: 0 }],
};

/** A CNI plugin that notes each call, one file for each, and answers ADD as it is told. */
async function fakePlugin(answer: { readonly stdout: string; readonly status: number }) {
  const directory = await mkdtemp(join(tmpdir(), 'plx-sandbox-'));
  const plugin = join(directory, 'fake');
  await writeFile(join(directory, 'answer'), answer.stdout);
  await writeFile(
    plugin,
    `#!/bin/sh
{ env | grep ^CNI_ | sort; cat; } > '${directory}/'$CNI_COMMAND
[ "$CNI_COMMAND" = ADD ] || exit 0
cat '${directory}/answer'
exit ${answer.status}
`,
    { mode: 0o755 },
  );
  const cni: CniSetup = {
    plugin,
    path: ['/a/bin', '/b/bin'],
    config: { cniVersion: '1.1.0', name: 'the-network', type: 'fake', key: 'kept' },
  };
  return {
    cni,
    called: (command: string): boolean => existsSync(join(directory, command)),
    call: async (command: string): Promise<{ env: readonly string[]; stdin: unknown }> => {
      const lines = (await readFile(join(directory, command), 'utf8')).split('\n');
      return { env: lines.slice(0, -1), stdin: JSON.parse(lines.at(-1) ?? '') };
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

const environment = (command: string, id: string, netns: string): readonly string[] => [
  `CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till-0;K8S_POD_INFRA_CONTAINER_ID=${id};K8S_POD_UID=${pod.uid}`,
  `CNI_COMMAND=${command}`,
  `CNI_CONTAINERID=${id}`,
  'CNI_IFNAME=eth0',
  `CNI_NETNS=${netns}`,
  'CNI_PATH=/a/bin:/b/bin',
];

/** Whether a process is there: one that has ended and was waited for is not. */
function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

test(
  'a sandbox has a namespace of its own with loopback up, and its plugin is called as containerd does',
  options,
  async () => {
    await using fake = await fakePlugin({ stdout: JSON.stringify(result), status: 0 });
    const sandbox = await Sandbox.create(pod, fake.cni);
    await using _pause = sandbox.pause;

    assert.match(sandbox.id, /^[0-9a-f]{64}$/);
    assert.deepEqual(sandbox.result.ips, [{ address: '10.0.0.2/24', interface: 0 }]);
    using namespace = NetworkNamespace.open(sandbox.netns);
    assert.notEqual(namespace.id, NetworkNamespace.host().id);
    using netlink = Rtnetlink.open(namespace);
    const [lo] = await netlink.run(links.get({ name: 'lo' }));
    assert.equal(lo.flags.up, true);
    const added = await fake.call('ADD');
    assert.deepEqual(added.env, environment('ADD', sandbox.id, sandbox.netns));
    assert.deepEqual(added.stdin, fake.cni.config);

    await sandbox.remove();
    const removed = await fake.call('DEL');
    assert.deepEqual(removed.env, environment('DEL', sandbox.id, sandbox.netns));
    assert.deepEqual(removed.stdin, { ...fake.cni.config, prevResult: result });
    assert.equal(isRunning(sandbox.pause.pid), false);
  },
);

test('where the pause process was killed, DEL is told that the namespace is gone', options, async () => {
  await using fake = await fakePlugin({ stdout: JSON.stringify(result), status: 0 });
  const sandbox = await Sandbox.create(pod, fake.cni);
  process.kill(sandbox.pause.pid, 'SIGKILL');
  await sandbox.pause.ended;
  assert.equal(existsSync(sandbox.netns), false);

  await sandbox.remove();
  assert.deepEqual((await fake.call('DEL')).env, environment('DEL', sandbox.id, ''));
});

test(
  'a plugin that fails is asked to release, its words are in the error, and no process is left',
  options,
  async () => {
    const failure = { cniVersion: '1.1.0', code: 11, msg: 'no room', details: 'come again' };
    await using fake = await fakePlugin({ stdout: JSON.stringify(failure), status: 1 });
    const error = await Sandbox.create(pod, fake.cni).then(
      () => assert.fail('made all the same'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof CniError);
    assert.equal(error.code, 11);
    assert.match(
      error.message,
      /^failed to setup network for sandbox "[0-9a-f]{64}": plugin type="fake" name="the-network" failed \(add\): no room; come again$/,
    );
    const { env } = await fake.call('DEL');
    const [, pid = ''] = env.join('\n').match(/CNI_NETNS=\/proc\/(\d+)\//) ?? [];
    assert.notEqual(pid, '');
    assert.equal(isRunning(Number(pid)), false);
  },
);

test('a result that makes no sense is a failure as well', options, async () => {
  await using fake = await fakePlugin({ stdout: 'fine!', status: 0 });
  await assert.rejects(Sandbox.create(pod, fake.cni), /failed \(add\): result of plugin "fake": line 1, column 1/);
  assert.equal(fake.called('DEL'), true);
});

test('what a pause process is to do at its end, it does however it is told of the end', options, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'plx-pause-'));
  const file = join(directory, 'done');
  try {
    const pause = await Pause.start(['sh', '-c', 'cat; touch "$1"', 'sh', file]);
    assert.equal(existsSync(file), false);
    await pause[Symbol.asyncDispose]();
    assert.equal(existsSync(file), true);
    assert.equal(pause.isRunning, false);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a pause process that cannot be started is an error', options, async () => {
  await assert.rejects(Pause.start(['/nonexistent/pause']), /ENOENT/);
});
