import type { Access } from './access.ts';
import { type ClaimedDevice, claimedDevices } from './claims.ts';
import { Client } from './client.ts';
import { Events, type PodEvent } from './events.ts';
import type { Log } from './log.ts';
import { Networks } from './networks.ts';
import { Pods } from './pods.ts';
import { type PodRequests, podRequests } from './requests.ts';
import type { NetworkAttachmentDefinition, Pod } from './schemas.ts';
import { type NetworkStatus, setNetworkStatus } from './status.ts';
import type { WatchTimings } from './watch.ts';

export interface ClusterOptions {
  /** How the API server is reached: {@link Access.kubeconfig} or {@link Access.inCluster}. */
  readonly access: Access;
  readonly nodeName: string;
  readonly log: Log;
  /** The source that users see with events; `multus` unless told, for what they have learned to look for. */
  readonly component?: string;
  readonly timings?: Partial<WatchTimings>;
  /** @see EventsOptions.turn */
  readonly turn?: () => Promise<void>;
}

/** All that attaching networks needs of Kubernetes. */
export class Cluster implements AsyncDisposable {
  /** Fulfilled once pods and networks have been listed. Calls before that are answered too, by asking the server. */
  readonly ready: Promise<void>;
  readonly #client: Client;
  readonly #pods: Pods;
  readonly #networks: Networks;
  readonly #events: Events;
  readonly #stop = new AbortController();

  constructor({ access, nodeName, log, component = 'multus', timings = {}, turn }: ClusterOptions) {
    this.#client = new Client(access);
    this.#pods = new Pods({ client: this.#client, nodeName, log, timings });
    this.#networks = new Networks({ client: this.#client, log, timings });
    this.#events = new Events({ client: this.#client, log, component, nodeName, turn });
    this.ready = Promise.all([this.#pods.watch.synced, this.#networks.watch.synced]).then(() => {});
    this.ready.catch(() => {});
  }

  /** @see Pods.get */
  pod(namespace: string, name: string, uid?: string): Promise<Pod> {
    return this.#pods.get(namespace, name, uid);
  }

  /** @see Networks.get */
  network(namespace: string, name: string): Promise<NetworkAttachmentDefinition> {
    return this.#networks.get(namespace, name);
  }

  /** @see podRequests */
  podRequests(pod: Pod): Promise<PodRequests> {
    return podRequests(this.#client, pod, this.#stop.signal);
  }

  /** @see claimedDevices */
  claimedDevices(pod: Pod): Promise<ClaimedDevice[]> {
    return claimedDevices(this.#client, pod, this.#stop.signal);
  }

  /** @see Networks.look */
  networkIfAny(namespace: string, name: string): Promise<NetworkAttachmentDefinition | undefined> {
    return this.#networks.look(namespace, name);
  }

  /** All pods of this node that are known. */
  pods(): readonly Pod[] {
    return [...this.#pods.watch.values()];
  }

  /** All networks that are known. */
  networks(): readonly NetworkAttachmentDefinition[] {
    return [...this.#networks.watch.values()];
  }

  /** A pod of this node as it was last seen; nobody is asked. */
  knownPod(namespace: string, name: string): Pod | undefined {
    return this.#pods.watch.get(namespace, name);
  }

  /** @see Reflector.listen */
  listen(listeners: {
    readonly pod: (pod: Pod) => void;
    readonly network: (network: NetworkAttachmentDefinition) => void;
  }): void {
    this.#pods.watch.listen(listeners.pod);
    this.#networks.watch.listen(listeners.network);
  }

  /** @see Pods.hasHostNetwork */
  hasHostNetwork(pod: Pod): Promise<boolean> {
    return this.#pods.hasHostNetwork(pod);
  }

  /** @see setNetworkStatus */
  setNetworkStatus(pod: Pod, statuses: readonly NetworkStatus[]): Promise<boolean> {
    return setNetworkStatus(this.#client, pod, statuses, this.#stop.signal);
  }

  /** Tells the pod's user something. Returns at once, never fails. */
  event(pod: Pod, event: PodEvent): void {
    this.#events.record(pod, event);
  }

  /** What keeps the copies of pods and networks from being up to date; empty when they are. */
  problems(): readonly string[] {
    return [this.#pods.watch.problem, this.#networks.watch.problem].flatMap((problem) => problem ?? []);
  }

  /**
   * Writes the events that wait, then ends everything.
   *
   * @param limit Milliseconds that writing may take; what is left then is given up.
   */
  async close(limit = 3_000): Promise<void> {
    this.#stop.abort();
    await Promise.all([
      this.#events.close(limit),
      this.#pods[Symbol.asyncDispose](),
      this.#networks[Symbol.asyncDispose](),
    ]);
    this.#client[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
