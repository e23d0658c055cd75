import { access } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { KubernetesObject, StoredObject } from '../../playground/api/object.ts';
import { applyObjects } from '../../playground/apply.ts';
import { observePod } from '../../playground/observation.ts';
import { type Playground, startPlayground } from '../../playground/playground.ts';
import { renderPod } from '../../playground/report.ts';
import { nodeAddress, nodeInterfaces } from '../../playground/vpc.ts';
import { readManifests } from '../manifests.ts';

const repository = resolve(import.meta.dirname, '../../..');

export interface TryOutOptions {
  readonly files: readonly string[];
  readonly keep: boolean;
  readonly nodeName: string;
  /** Devices that pods can request: ids by resource. */
  readonly devices: ReadonlyMap<string, readonly string[]>;
  /** Whether the cluster has the webhook, which adds devices to pods and refuses networks. */
  readonly webhook: boolean;
}

/**
 * Runs manifests in a playground and prints what becomes of each pod.
 *
 * @returns The exit status: 0 when every pod got all its networks, 130 when it was cut short.
 * @throws {Error} naming the file and what is wrong with it, or what is missing on this machine.
 */
export async function tryOut({ files, keep, nodeName, devices, webhook }: TryOutOptions): Promise<number> {
  const objects = await readManifests(files);
  if (!objects.some(({ kind }) => kind === 'Pod')) {
    throw new Error(`no Pod in ${files.join(', ')}: there is nothing to attach`);
  }
  const shim = await findShim();
  const stopped = signalled();
  await using playground = await startPlayground({
    nodeName,
    shim,
    devices,
    webhook,
    plexus: [process.execPath, join(repository, 'bin/plexus')],
  });
  print(`Node ${nodeName}: ${nodeInterfaces.join(', ')}; ${nodeInterfaces[0]} is its own, with ${nodeAddress}`);
  const outcome = await Promise.race([attach(playground, objects), stopped]);
  if (outcome === 'stopped') return 130;
  if (keep) {
    print(`\n${howToLook(playground)}`);
    await stopped;
    print('\nRemoving everything.');
  }
  return outcome ? 0 : 1;
}

/** @returns Whether all pods got all their networks. */
async function attach(playground: Playground, objects: readonly KubernetesObject[]): Promise<boolean> {
  const made = await applyObjects(playground.api.store, objects);
  for (const object of made) print(`${kindOf(object)}/${object.metadata.name} created`);
  await playground.kubelet.idle();
  let isFine = true;
  for (const object of made.filter(({ kind }) => kind === 'Pod')) {
    const observation = await observePod(playground, object);
    print(`\n${renderPod(observation, Date.now())}`);
    isFine &&= observation.state?.phase !== 'failed';
  }
  return isFine;
}

/** As kubectl names what it made. */
function kindOf({ apiVersion, kind }: StoredObject): string {
  const [group] = apiVersion.includes('/') ? apiVersion.split('/') : [];
  return `${kind.toLowerCase()}${group === undefined ? '' : `.${group}`}`;
}

function howToLook({ kubeconfig, kubelet, node, logFile, api }: Playground): string {
  const pods = kubelet
    .sandboxes()
    .map(({ pod, netns }) => [`nsenter --net=${netns} ip address`, `${pod.namespace}/${pod.name}`]);
  const inside = [...pods, [`nsenter --net=${node.netns} ip address`, 'the node']];
  const width = Math.max(...inside.map(([command = '']) => command.length));
  return [
    'It stays up until Ctrl-C. From another terminal, as root:',
    '',
    `  export KUBECONFIG=${kubeconfig}      # the API listens at 127.0.0.1:${api.port}`,
    '  kubectl get pods',
    '  kubectl describe pod',
    '',
    ...inside.map(([command = '', whose]) => `  ${command.padEnd(width)}      # ${whose}`),
    `  ${`tail -f ${logFile}`.padEnd(width)}      # the Plexus daemon`,
  ].join('\n');
}

async function findShim(): Promise<string> {
  const shim = join(repository, 'build/plexus');
  await access(shim).catch(() => {
    throw new Error(`${shim}, the CNI binary, is missing: \`make shim\` builds it`);
  });
  return shim;
}

/**
 * Fulfilled by the first signal that asks to end, or when nobody reads on. The second signal ends at once, and the kernel
 * cleans up.
 */
function signalled(): Promise<'stopped'> {
  const { promise, resolve } = Promise.withResolvers<'stopped'>();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve('stopped'));
  process.stdout.on('error', () => resolve('stopped'));
  return promise;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
