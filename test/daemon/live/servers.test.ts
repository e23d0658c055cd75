import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { z } from 'zod';
import { changePod, statusesOf } from '../../../src/cli/change/change.ts';
import { callDaemon } from '../../../src/daemon/client.ts';
import { readDaemonConfig } from '../../../src/daemon/config.ts';
import { startDaemon } from '../../../src/daemon/daemon.ts';
import { annotatePod, readPod } from '../../../src/kubernetes/annotate.ts';
import { ApiError } from '../../../src/kubernetes/error.ts';
import { podSchema } from '../../../src/kubernetes/schemas.ts';
import { events, pods } from '../../../src/playground/api/resources.ts';
import { onEachServer, type Running, type Server } from '../../kubernetes/server.ts';
import { network, pod } from '../../playground-api/manifests.ts';
import { ip } from '../../plugins/support.ts';
import { testDirectory } from '../../support/directory.ts';
import { testNamespace } from '../../support/namespace.ts';
import { addWire, becomeNode } from '../../support/node.ts';
import { keptLog } from '../log.ts';
import { eventually, macvlan } from './node.ts';

/* What a daemon does for running pods with the rights that it is given, against each API server. */

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const options = { timeout: 240_000 };
const networksAnnotation = 'k8s.v1.cni.cncf.io/networks';

/** A daemon, and a pod that it has attached to its default network. */
async function attachedPod(server: Server, as: 'daemon' | 'administrator' = 'daemon') {
  await using starting = new AsyncDisposableStack();
  const directory = starting.use(await testDirectory());
  const at = (name: string): string => join(directory.path, name);
  const ipam = { type: 'host-local', dataDir: at('networks') };
  const definitions = [
    network('net-a', JSON.stringify(macvlan(ipam, '10.1.0.0/24'))),
    network('net-b', JSON.stringify(macvlan(ipam, '10.2.0.0/24'))),
  ];
  const running = starting.use(await server.start([pod('app'), ...definitions], as));
  await mkdir(at('net.d'));
  const plugins = [{ type: 'macvlan', master: 'ens5', ipam: { ...ipam, subnet: '10.244.0.0/24' } }];
  const cluster = { cniVersion: '1.1.0', name: 'cluster-net', plugins };
  await writeFile(at('net.d/10-default.conflist'), JSON.stringify(cluster));
  await writeFile(at('kubeconfig'), kubeconfig(running.proxy.url));
  const config = await readDaemonConfig(undefined, {
    socketDir: at('run'),
    stateDir: at('state'),
    cniConfigDir: at('net.d'),
    kubeconfig: at('kubeconfig'),
    nodeName: 'node-1',
    metricsPort: 0,
  });
  const daemon = await startDaemon(config, { log: keptLog().log, live: { waits: [50] } });
  starting.defer(() => daemon.close());
  const sandbox = starting.use(await testNamespace());
  const { uid } = (await running.admin.get(pods, 'default', 'app')).metadata;
  const call = (command: string) => {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: 'sandbox-app',
      CNI_NETNS: sandbox.path,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/nowhere',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=app;K8S_POD_UID=${uid}`,
    };
    const stdin = { cniVersion: '1.1.0', name: 'plexus', type: 'plexus', clusterNetwork: 'cluster-net' };
    return callDaemon(daemon.socket, { name: 'plexus', env, stdin: JSON.stringify(stdin) }, 60_000);
  };
  const { exitStatus, stdout } = await call('ADD');
  assert.equal(exitStatus, 0, stdout);
  const all = starting.move();
  return {
    running,
    call,
    links: async () => (await ip(sandbox.path, 'link')).map(({ ifname }) => ifname).filter((name) => name !== 'lo'),
    held: async () => {
      const files = await readdir(at('networks'), { recursive: true });
      return files.filter((file) => /\/[\d.]+$/.test(file)).filter((file) => !file.includes('last_reserved'));
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

const kubeconfig = (server: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    users: [{ name: 'test', user: {} }],
    'current-context': 'test',
  });

const annotate = ({ admin }: Running, networks: string | null) =>
  admin.change(pods, 'default', 'app', { metadata: { annotations: { [networksAnnotation]: networks } } });

async function interfaces({ admin }: Running): Promise<unknown[]> {
  return statusesOf(podSchema.parse(await admin.get(pods, 'default', 'app'))).map((each) => each.interface);
}

async function told({ admin }: Running): Promise<string[]> {
  const all = z.array(z.looseObject({ reason: z.string(), message: z.string() })).parse(await admin.list(events));
  return all.map(({ reason, message }) => `${reason}: ${message}`);
}

await onEachServer((server) => {
  test('attaches and detaches as the annotation changes, and tells the pod', options, async () => {
    await using node = await attachedPod(server);
    const { running } = node;
    await annotate(running, 'net-a,net-b@data0');
    await eventually(() => interfaces(running), ['eth0', 'net1', 'data0']);
    await annotate(running, 'net-b@data0');
    await eventually(() => interfaces(running), ['eth0', 'data0']);
    assert.deepEqual(await node.links(), ['eth0', 'data0']);
    await annotate(running, null);
    await eventually(() => interfaces(running), ['eth0']);
    await eventually(
      async () => (await told(running)).sort(),
      [
        'AddedInterface: Add data0 [10.2.0.2/24] from default/net-b',
        'AddedInterface: Add eth0 [10.244.0.2/24] from cluster-net',
        'AddedInterface: Add net1 [10.1.0.2/24] from default/net-a',
        'RemovedInterface: Remove data0 [10.2.0.2/24] from default/net-b',
        'RemovedInterface: Remove net1 [10.1.0.2/24] from default/net-a',
      ],
    );
    assert.deepEqual(await node.call('DEL'), { exitStatus: 0, stdout: '' });
    assert.deepEqual(await node.held(), []);
  });

  const faults: readonly { readonly what: string; readonly begin: (running: Running) => void }[] = [
    {
      what: 'refuses the status',
      begin: ({ proxy }) => proxy.fault({ match: isPatch, fail: 'InternalError', times: 7 }),
    },
    { what: 'loses its answers', begin: ({ proxy }) => proxy.fault({ match: isPatch, lost: true, times: 7 }) },
    { what: 'answers nothing', begin: ({ proxy }) => proxy.fault({ reset: true, times: 10 }) },
  ];
  for (const { what, begin } of faults) {
    test(`loses nothing while the API server ${what}`, options, async () => {
      await using node = await attachedPod(server);
      const { running } = node;
      begin(running);
      await annotate(running, 'net-a,net-b');
      await eventually(() => interfaces(running), ['eth0', 'net1', 'net2']);
      assert.deepEqual(await node.links(), ['eth0', 'net1', 'net2']);
      assert.deepEqual((await node.held()).length, 3);
    });
  }

  test('what was attached while the pod runs is released with it, once the pod is gone', options, async () => {
    await using node = await attachedPod(server);
    const { running } = node;
    await annotate(running, 'net-a');
    await eventually(() => interfaces(running), ['eth0', 'net1']);
    await running.admin.delete(pods, 'default', 'app');
    assert.deepEqual(await node.call('DEL'), { exitStatus: 0, stdout: '' });
    assert.deepEqual([await node.links(), await node.held()], [[], []]);
  });

  test('a command changes the annotation of a pod as it was read, and waits for the daemon', options, async () => {
    await using node = await attachedPod(server, 'administrator');
    const { running } = node;
    const { client } = running;
    const read = await readPod(client, 'default', 'app');
    await annotate(running, 'net-a');
    await assert.rejects(
      annotatePod(client, read, networksAnnotation, 'net-b'),
      (error) => error instanceof ApiError && error.status === 409,
    );
    let attempts = 0;
    const { done } = await changePod(
      {
        edit: (now) => {
          attempts++;
          // Somebody else is quicker, once.
          if (attempts === 1) now.metadata.resourceVersion = read.metadata.resourceVersion;
          return { networks: 'net-a,net-b', what: undefined };
        },
        isDone: (statuses) => statuses.length === 3,
        isFailure: () => false,
      },
      { client, namespace: 'default', name: 'app', timeoutMs: 60_000 },
    );
    assert.deepEqual([done, attempts], [true, 2]);
    assert.deepEqual(await node.links(), ['eth0', 'net1', 'net2']);
  });
});

function isPatch(method: string, path: string): boolean {
  return method === 'PATCH' && path.includes('/status');
}
