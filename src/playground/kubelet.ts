import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import type { Events } from '../kubernetes/events.ts';
import { podSchema } from '../kubernetes/schemas.ts';
import { at, type StoredObject, textAt } from './api/object.ts';
import { pods } from './api/resources.ts';
import type { Change, Store } from './api/store.ts';
import type { NodeDevices } from './devices.ts';
import { pendingStatus, runningStatus } from './pod-status.ts';
import { type CniSetup, type PodIdentity, Sandbox } from './sandbox.ts';

export interface KubeletOptions {
  readonly store: Store;
  readonly nodeName: string;
  readonly hostIP: string;
  readonly cni: CniSetup;
  /** Written in the name of the scheduler. */
  readonly schedulerEvents: Events;
  /** Written in the name of the kubelet. */
  readonly kubeletEvents: Events;
  /** What pods can request. */
  readonly devices: NodeDevices;
  /** Milliseconds after which a sandbox that could not be made is tried again; 10 s unless told. */
  readonly retryAfter?: number | undefined;
}

/** How it stands with a pod's sandbox. */
export type PodState =
  | { readonly phase: 'running'; readonly sandbox: Sandbox }
  /** It shares the node's network: there is nothing to attach. */
  | { readonly phase: 'host' }
  | { readonly phase: 'failed'; readonly error: CniError };

/**
 * What the scheduler and the kubelet of a cluster of one node do for the network of pods: a pod that appears is assigned
 * to the node, gets a sandbox and a status; one that is deleted loses them. One after the other, in the order in which
 * they appeared, so that a person can follow.
 */
export class Kubelet implements AsyncDisposable {
  readonly #options: KubeletOptions;
  readonly #states = new Map<string, PodState>();
  readonly #retries = new Set<NodeJS.Timeout>();
  readonly #unlisten: () => void;
  readonly #failures: Error[] = [];
  #queue: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: KubeletOptions) {
    this.#options = options;
    this.#unlisten = options.store.listen((change) => this.#changed(change));
  }

  /** Waits until all that has appeared so far was dealt with once. What failed is tried again behind that. */
  async idle(): Promise<void> {
    await this.#queue;
  }

  /** Undefined for a pod that is not this node's, or that was not dealt with yet. */
  stateOf(uid: string): PodState | undefined {
    return this.#states.get(uid);
  }

  /** Those that are up, in the order in which they were made. */
  sandboxes(): Sandbox[] {
    return [...this.#states.values()].flatMap((state) => (state.phase === 'running' ? state.sandbox : []));
  }

  /**
   * Removes all sandboxes.
   *
   * @throws {AggregateError} of what could not be released.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#unlisten();
    for (const timer of this.#retries) clearTimeout(timer);
    await this.idle();
    for (const uid of [...this.#states.keys()]) this.#enqueue(() => this.#stop(uid));
    await this.idle();
    const [first] = this.#failures;
    if (first !== undefined) throw new AggregateError(this.#failures, first.message);
  }

  #changed({ resource, type, object, before }: Change): void {
    if (resource !== pods) return;
    const { uid } = object.metadata;
    if (type === 'DELETED') this.#enqueue(() => this.#stop(uid));
    else if (before === undefined) this.#enqueue(() => this.#start(object));
  }

  #enqueue(task: () => Promise<void>): void {
    this.#queue = this.#queue.then(task).catch((error: unknown) => {
      this.#failures.push(error instanceof Error ? error : new Error(String(error)));
    });
  }

  /** The pod as it is by now; undefined when it was deleted, whatever has its name since. */
  #current({ metadata: { namespace, name, uid } }: StoredObject): StoredObject | undefined {
    const found = this.#options.store.find(pods, namespace, name);
    return found?.metadata.uid === uid ? found : undefined;
  }

  async #start(created: StoredObject): Promise<void> {
    const { hostIP, cni } = this.#options;
    const pod = this.#assigned(created);
    if (pod === undefined) return;
    const { uid } = pod.metadata;
    if (at(pod, 'spec.hostNetwork') === true) {
      this.#states.set(uid, { phase: 'host' });
      return this.#setStatus(pod, (now) => runningStatus(now, { ips: [{ address: `${hostIP}/32` }] }, hostIP));
    }
    if (!this.#hasDevices(pod)) return this.#retryLater(pod);
    this.#setStatus(pod, (now) => pendingStatus(now, 'ContainerCreating'));
    const sandbox = await Sandbox.create(identityOf(pod), cni).catch(toCniError);
    if (sandbox instanceof CniError) return this.#failed(pod, sandbox);
    this.#states.set(uid, { phase: 'running', sandbox });
    this.#setStatus(pod, (now) => runningStatus(now, sandbox.result, hostIP));
  }

  /** Whether the pod has the devices that it requests. Where it has not, a scheduler would not have let it come here. */
  #hasDevices(pod: StoredObject): boolean {
    const missing = this.#options.devices.allocate(pod);
    if (missing === undefined) return true;
    const message = `0/1 nodes are available: 1 Insufficient ${missing}.`;
    const event = { type: 'Warning', reason: 'FailedScheduling', message } as const;
    this.#options.schedulerEvents.record(podSchema.parse(pod), event);
    this.#states.set(pod.metadata.uid, { phase: 'failed', error: new CniError(ErrorCode.TryAgainLater, message) });
    return false;
  }

  #failed(pod: StoredObject, error: CniError): void {
    this.#states.set(pod.metadata.uid, { phase: 'failed', error });
    const message = `Failed to create pod sandbox: rpc error: code = Unknown desc = ${error.message}`;
    const event = { type: 'Warning', reason: 'FailedCreatePodSandBox', message } as const;
    this.#options.kubeletEvents.record(podSchema.parse(pod), event);
    this.#retryLater(pod);
  }

  /** The pod, once the scheduler has seen it; undefined where it is none of ours. */
  #assigned(created: StoredObject): StoredObject | undefined {
    const { store, nodeName, schedulerEvents } = this.#options;
    const pod = this.#current(created);
    if (pod === undefined) return undefined;
    const assigned = textAt(pod, 'spec.nodeName');
    if (assigned !== '') return assigned === nodeName ? pod : undefined;
    const spec = at(pod, 'spec');
    const { namespace, name } = pod.metadata;
    const message = `Successfully assigned ${namespace}/${name} to ${nodeName}`;
    schedulerEvents.record(podSchema.parse(pod), { type: 'Normal', reason: 'Scheduled', message });
    return store.update({ ...pod, spec: { ...(isJsonObject(spec) ? spec : {}), nodeName } });
  }

  #setStatus(pod: StoredObject, statusOf: (now: StoredObject) => JsonObject): void {
    const now = this.#current(pod);
    if (now !== undefined) this.#options.store.update({ ...now, status: statusOf(now) }, 'status');
  }

  #retryLater(pod: StoredObject): void {
    if (this.#closed) return;
    const timer = setTimeout(() => {
      this.#retries.delete(timer);
      this.#enqueue(() => this.#start(pod));
    }, this.#options.retryAfter ?? 10_000);
    this.#retries.add(timer);
  }

  /** What could not be released is reported at the end. The pause process ends with this one, if not before. */
  async #stop(uid: string): Promise<void> {
    const state = this.#states.get(uid);
    this.#states.delete(uid);
    if (state?.phase === 'running') {
      await using _pause = state.sandbox.pause;
      await state.sandbox.remove();
    }
    this.#options.devices.release(uid);
  }
}

function identityOf({ metadata: { namespace, name, uid } }: StoredObject): PodIdentity {
  return { namespace: namespace ?? 'default', name, uid };
}
