import { networksOf } from '../../attach/pod-networks.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import type { Pod } from '../../kubernetes/schemas.ts';
import type { Schedule } from './followed.ts';

export interface StrangersOptions {
  readonly cluster: Cluster;
  readonly schedule: Schedule;
  readonly isFollowed: (pod: Pod) => boolean;
}

/** Milliseconds after which the runtime has called for a pod that it ever calls for. */
const graceMs = 30_000;

/**
 * Pods that ask for networks and have no sandbox that Plexus knows. Those with the network of their node never get one, and
 * are told so, once for what they ask; all others are left alone.
 */
export class Strangers {
  readonly #options: StrangersOptions;
  /** What each asked for, by UID. */
  readonly #known = new Map<string, string>();
  readonly #waiting = new Map<string, () => void>();

  constructor(options: StrangersOptions) {
    this.#options = options;
  }

  sees(pod: Pod): void {
    const { uid } = pod.metadata;
    const asked = networksOf(pod);
    if (asked === (this.#known.get(uid) ?? '')) return;
    this.#known.set(uid, asked);
    this.#waiting.get(uid)?.();
    this.#waiting.set(
      uid,
      this.#options.schedule(graceMs, () => void this.#look(pod)),
    );
  }

  close(): void {
    for (const unschedule of this.#waiting.values()) unschedule();
  }

  async #look({ metadata: { namespace, name, uid } }: Pod): Promise<void> {
    const { cluster, isFollowed } = this.#options;
    this.#waiting.delete(uid);
    const there = new Set(cluster.pods().map(({ metadata }) => metadata.uid));
    for (const each of this.#known.keys()) if (!there.has(each)) this.#known.delete(each);
    const pod = cluster.knownPod(namespace, name);
    if (pod?.metadata.uid !== uid || isFollowed(pod) || networksOf(pod) === '') return;
    try {
      if (!(await cluster.hasHostNetwork(pod))) return;
    } catch {
      // Asked again when the pod changes what it asks for.
      this.#known.delete(uid);
      return;
    }
    const message = `pod ${namespace}/${name} has the network of its node (hostNetwork): no interface is added to it`;
    cluster.event(pod, { type: 'Warning', reason: 'InterfaceAddRejected', message });
  }
}
