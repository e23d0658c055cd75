import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { parseNetworkConfig } from '../cni/config.ts';
import { networkStatusAnnotation } from '../kubernetes/status.ts';
import { links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { type DrawnInterface, followInterfaces, type NamedInterface } from '../observe/follow.ts';
import { viewOf } from '../observe/namespace-view.ts';
import { builtinPlugins } from '../plugins/builtin.ts';
import { type StoredObject, textAt } from './api/object.ts';
import { events, networkAttachmentDefinitions, pods } from './api/resources.ts';
import type { Store } from './api/store.ts';
import { awsCniConflist } from './aws-cni/install.ts';
import type { PodState } from './kubelet.ts';
import type { Playground } from './playground.ts';

/** Milliseconds that events of other processes, and links that come up, are waited for. */
const patience = 2_000;

/** How long one attachment took. */
export interface TimedAttachment {
  readonly ifName: string;
  readonly network: string;
  /** Its plugins, and whether they were executed. */
  readonly plugins: string;
  readonly milliseconds: number;
}

/** What has become of a pod, for a person to see. */
export interface PodObservation {
  /** The object, with its status. */
  readonly pod: StoredObject;
  readonly state: PodState | undefined;
  readonly events: readonly StoredObject[];
  /** The annotation's text. */
  readonly networkStatus: string | undefined;
  /** What `ip -d address` prints inside the pod. */
  readonly addresses: string | undefined;
  readonly interfaces: readonly DrawnInterface[];
  readonly attachments: readonly TimedAttachment[];
}

/**
 * Looks at a pod that the kubelet has dealt with, from all sides: the API, the kernel, the daemon's log.
 *
 * @param created The pod as it was when it was made.
 * @throws {Error} when there is no ip command.
 */
export async function observePod(playground: Playground, created: StoredObject): Promise<PodObservation> {
  const { api, kubelet, node, daemon } = playground;
  const { namespace, name, uid } = created.metadata;
  const state = kubelet.stateOf(uid);
  const times = state?.phase === 'running' ? await daemon.timesOf(state.sandbox.id) : [];
  const expected = {
    ...(textAt(created, 'spec.nodeName') === '' && { Scheduled: 1 }),
    ...(state?.phase === 'running' && { AddedInterface: times.length }),
    ...(state?.phase === 'failed' && { FailedCreatePodSandBox: 1, FailedAddingInterface: 1 }),
  };
  const { store } = api;
  await waitFor(store, () => hasEvents(eventsOf(store, uid), expected));
  const pod = store.get(pods, namespace, name);
  const networkStatus = pod.metadata.annotations?.[networkStatusAnnotation];
  const seen = { pod, state, events: eventsOf(store, uid), networkStatus };
  if (state?.phase !== 'running') return { ...seen, addresses: undefined, interfaces: [], attachments: [] };
  const { netns } = state.sandbox;
  await linksUp(netns);
  using sandbox = NetworkNamespace.open(netns);
  const [inPod, onNode] = await Promise.all([viewOf(sandbox), viewOf(node.namespace)]);
  return {
    ...seen,
    addresses: await ipAddress(netns),
    interfaces: followInterfaces(inPod, onNode, interfacesOf(networkStatus, store)),
    attachments: times.map((each) => ({ ...each, plugins: described(pluginsOf(each.network, store)) })),
  };
}

/** Events about one object, in the order of their names, which is that of time. */
export function eventsOf(store: Store, uid: string): StoredObject[] {
  return store.list(events).filter((event) => textAt(event, 'involvedObject.uid') === uid);
}

/** Events are written behind the work, by three programs. */
function hasEvents(found: readonly StoredObject[], expected: Readonly<Record<string, number>>): boolean {
  return Object.entries(expected).every(
    ([reason, count]) => found.filter((event) => textAt(event, 'reason') === reason).length >= count,
  );
}

/** Waits until the objects are as wanted, or patience is over. */
async function waitFor(store: Store, isSo: () => boolean): Promise<void> {
  if (isSo()) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const unlisten = store.listen(() => {
    if (isSo()) resolve();
  });
  const over = new AbortController();
  await Promise.race([promise, sleep(patience, undefined, { signal: over.signal }).catch(() => undefined)]);
  over.abort();
  unlisten();
}

/** A link that was brought up just now counts as down for some milliseconds more, until the kernel has looked at its carrier. */
async function linksUp(netns: string): Promise<void> {
  using namespace = NetworkNamespace.open(netns);
  using netlink = Rtnetlink.open(namespace);
  for (const deadline = performance.now() + patience; performance.now() < deadline; await sleep(10)) {
    const [all] = await netlink.run(links.list());
    if (all.every(({ flags, operState }) => !flags.up || operState === 'up' || operState === 'unknown')) return;
  }
}

async function ipAddress(netns: string): Promise<string> {
  using namespace = NetworkNamespace.open(netns);
  const printed = Promise.withResolvers<string>();
  namespace.run(() => {
    execFile('ip', ['-d', 'address'], (error, stdout) => {
      if (error === null) printed.resolve(stdout);
      else if (error.code === 'ENOENT') printed.reject(new Error('there is no ip command: apt-get install iproute2'));
      else printed.reject(error);
    });
  });
  return (await printed.promise).trimEnd();
}

const statusSchema = z.array(
  z.object({ name: z.string(), interface: z.string(), default: z.boolean().default(false) }),
);

/** The pod's interfaces that network-status names. */
function interfacesOf(networkStatus: string | undefined, store: Store): NamedInterface[] {
  if (networkStatus === undefined) return [];
  return statusSchema.parse(JSON.parse(networkStatus)).map(({ name, interface: ifName, default: isDefault }) => ({
    name: ifName,
    network: name,
    isDefault,
    plugin: pluginsOf(name, store)[0] ?? '',
  }));
}

/** The types of a network's plugins. Empty where its configuration is no longer there, or is kept on the node. */
function pluginsOf(network: string, store: Store): string[] {
  if (network === awsCniConflist.name) return awsCniConflist.plugins.map(({ type }) => type);
  const [namespace, name = ''] = network.split('/');
  const definition = store.find(networkAttachmentDefinitions, namespace, name);
  try {
    return parseNetworkConfig(textAt(definition, 'spec.config'), '', { defaultName: name }).plugins.map(
      ({ type }) => type,
    );
  } catch {
    return [];
  }
}

const builtin: ReadonlySet<string> = new Set(builtinPlugins.map(({ type }) => type));

function described(types: readonly string[]): string {
  return types.map((type) => (builtin.has(type) ? type : `${type} (executed)`)).join(', ');
}
