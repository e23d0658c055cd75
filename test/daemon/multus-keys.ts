import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../src/cni/json.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { passthru } from '../../src/plugins/passthru.ts';
import { type FakePlugin, fakePlugin } from '../cni/support.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';
import { type Node, startNode } from './node.ts';

/** The configuration keys of Multus 4.3, of its CNI configuration and of daemon-config.json. */
export const multusKeys: readonly string[] = [
  'cniVersion',
  'name',
  'type',
  'capabilities',
  'kubeconfig',
  'confDir',
  'cniDir',
  'binDir',
  'clusterNetwork',
  'defaultNetworks',
  'systemNamespaces',
  'multusNamespace',
  'delegates',
  'readinessindicatorfile',
  'namespaceIsolation',
  'globalNamespaces',
  'retryDeleteOnError',
  'auxiliaryCNIChainName',
  'logFile',
  'logLevel',
  'logToStderr',
  'logOptions',
  'chrootDir',
  'socketDir',
  'daemonSocketDir',
  'metricsPort',
  'connectionLimit',
  'perNodeCertificate',
  'multusConfigFile',
  'multusMasterCNI',
  'multusAutoconfigDir',
  'cniConfigDir',
  'forceCNIVersion',
  'overrideNetworkName',
  'enablePprof',
];

/** Where a key is given. */
export type Place = 'the CNI configuration' | 'daemon-config.json';

/** Where the keys of a test go: to the daemon, or with each call. */
export type SetIn = (keys: JsonObject) => { readonly daemon: JsonObject; readonly runtime: JsonObject };

export const daemonOnly: readonly Place[] = ['daemon-config.json'];
export const bothPlaces: readonly Place[] = ['the CNI configuration', 'daemon-config.json'];

export const setIn: Readonly<Record<Place, SetIn>> = {
  'the CNI configuration': (keys) => ({ daemon: {}, runtime: keys }),
  'daemon-config.json': (keys) => ({ daemon: keys, runtime: {} }),
};

export const conflist = (name: string): string =>
  JSON.stringify({ cniVersion: '1.1.0', name, plugins: [{ type: 'fake' }] });

/** A daemon whose fake plugin tells what it was called for. */
export async function nodeWith(keys: ReturnType<SetIn>, plugin: FakePlugin = fakePlugin()): Promise<Node> {
  return startNode({ plugins: [plugin, passthru] }, keys.daemon);
}

export const networksOf = ({ configs }: FakePlugin): string[] => configs.map(({ name }) => name);

export async function added(node: Node, keys: ReturnType<SetIn>, more: JsonObject = {}): Promise<JsonObject> {
  const { exitStatus, stdout } = await node.call({ command: 'ADD', config: { ...more, ...keys.runtime } });
  assert.equal(exitStatus, 0, stdout);
  return JSON.parse(stdout);
}

/** The networks that a pod of a namespace gets, in a cluster that has `side` in kube-system and in other, and `own` in shop. */
export async function networksInCluster(
  keys: ReturnType<SetIn>,
  namespace: string,
  networks?: string,
): Promise<string[]> {
  const annotations: Record<string, string> = networks === undefined ? {} : { 'k8s.v1.cni.cncf.io/networks': networks };
  const objects = [
    pod('app', { namespace, annotations }),
    network('side', conflist('side-of-kube-system'), 'kube-system'),
    network('side', conflist('side-of-other'), 'other'),
    network('own', conflist('own'), 'shop'),
  ];
  await using api = await startApi({ objects });
  await using directory = await testDirectory();
  const kubeconfig = join(directory.path, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig());
  await using sandbox = await testNamespace();
  const plugin = fakePlugin();
  await using node = await nodeWith({ ...keys, daemon: { ...keys.daemon, cluster: true, kubeconfig } }, plugin);
  const env = { CNI_NETNS: sandbox.path, CNI_ARGS: `K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=app` };
  const { exitStatus, stdout } = await node.call({ command: 'ADD', env, config: keys.runtime });
  if (exitStatus !== 0) throw new Error(JSON.parse(stdout).msg);
  return networksOf(plugin);
}

/** What the daemon writes for the runtime, with these keys. */
export async function written(keys: JsonObject): Promise<JsonObject> {
  await using node = await startNode({ plugins: [] }, { multusConfigFile: 'auto', ...keys });
  return JSON.parse(await readFile(join(node.directory, 'net.d/00-plexus.conflist'), 'utf8'));
}

export async function readiness(node: Node): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${node.daemon.metricsPort}/readyz`);
  return `${response.status} ${await response.text()}`;
}

/** A plugin that answers with the address given. */
export const script = (address: string): string =>
  `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"${address}"}]}'\nexit 0\n`;
