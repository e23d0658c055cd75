import { sandboxStatus } from '../../attach/attached-networks.ts';
import { type ChangeOutcome, changeSandbox, detachHeld, releaseUnsettled } from '../../attach/change.ts';
import type { AttachmentReport, ReleaseContext } from '../../attach/release.ts';
import { parseSettings, type Settings } from '../../attach/settings.ts';
import { type CniArgs, parseArgs } from '../../cni/args.ts';
import { CniError, ErrorCode, toCniError } from '../../cni/error.ts';
import { splitPath } from '../../cni/invocation.ts';
import type { JsonObject } from '../../cni/json.ts';
import type { PluginRunner } from '../../cni/plugin.ts';
import type { Entry, PlannedAttachment } from '../../journal/entry.ts';
import type { Journal, Key } from '../../journal/journal.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import type { PodEvent } from '../../kubernetes/events.ts';
import type { NetworkAttachmentDefinition, Pod } from '../../kubernetes/schemas.ts';
import { networkStatusAnnotation } from '../../kubernetes/status.ts';
import { Gate } from '../gate.ts';
import type { Logger } from '../log.ts';
import type { KeyedQueue } from '../queue.ts';
import { defaultWaits, Followed, type Schedule, schedule } from './followed.ts';
import { type Identity, identityOf, podKey } from './identity.ts';
import type { RuntimeCall } from './runtime-call.ts';
import { Strangers } from './strangers.ts';

export interface FollowerOptions {
  readonly journal: Journal;
  readonly cluster: Cluster;
  /** That of the runtime's calls: of a sandbox, one thing is done at a time. */
  readonly queue: KeyedQueue;
  readonly runner: PluginRunner;
  readonly runtimeCall: RuntimeCall;
  /** The daemon's configuration: it overlays what the runtime sends. */
  readonly overlay: JsonObject;
  readonly log: Logger;
  readonly report: (report: AttachmentReport) => void;
  readonly waits?: readonly number[];
  readonly schedule?: Schedule;
}

/** Pods that are changed at a time: those that start are waited for, these are not. */
const changesAtATime = 4;

/**
 * Follows the networks annotations of pods that run: what is asked for is attached, what is asked for no more is detached,
 * and what could not be is tried again. A pod that the journal does not have is left alone: another meta-plugin attached it.
 */
export class PodFollower implements AsyncDisposable {
  readonly #options: FollowerOptions;
  readonly #waits: readonly number[];
  readonly #schedule: Schedule;
  readonly #gate = new Gate(changesAtATime);
  /** By namespace and name of the pod: its newest sandbox. */
  readonly #followed = new Map<string, Followed>();
  /** Those that are at work, and whether there is more to do for them. */
  readonly #working = new Map<Followed, { again: boolean; readonly done: Promise<void> }>();
  readonly #strangers: Strangers;
  #closed = false;

  private constructor(options: FollowerOptions) {
    const { cluster, waits = defaultWaits } = options;
    this.#options = options;
    this.#waits = waits;
    this.#schedule = options.schedule ?? schedule;
    this.#strangers = new Strangers({
      cluster,
      schedule: this.#schedule,
      isFollowed: (pod) => this.#of(pod) !== undefined,
    });
    cluster.listen({ pod: (pod) => this.#sees(pod), network: (network) => this.#seesNetwork(network) });
  }

  /** Follows all sandboxes of the journal, and finishes what a daemon before this one had begun. */
  static async start(options: FollowerOptions): Promise<PodFollower> {
    const follower = new PodFollower(options);
    const entries: Entry[] = [];
    for (const key of await options.journal.list()) {
      // What cannot be read was told of by the recovery.
      const entry = await options.journal.read(key).catch(() => undefined);
      if (entry?.complete) entries.push(entry);
    }
    entries.sort((a, b) => a.plan.plannedAt - b.plan.plannedAt);
    for (const { plan, changed } of entries) {
      const followed = follower.#follow(plan, identityOf(plan.pod, parseArgs(plan.args)), undefined);
      if (followed === undefined) continue;
      followed.statusDue = changed;
      follower.#go(followed);
    }
    // Those that were listed before anybody listened.
    for (const pod of options.cluster.pods()) follower.#sees(pod);
    return follower;
  }

  /**
   * Follows a sandbox that was attached just now.
   *
   * @param pod The pod as it was when its networks were planned; undefined where it was not asked for any.
   * @param statusDue Whether its network-status has still to be written.
   */
  added(attachment: Key & { readonly args: CniArgs }, pod: Pod | undefined, statusDue = false): void {
    const followed = this.#follow(attachment, identityOf(pod?.metadata, attachment.args), pod);
    if (followed === undefined) return;
    followed.statusDue = statusDue;
    const known = this.#options.cluster.knownPod(followed.identity.namespace, followed.identity.name);
    if (known !== undefined && followed.sees(known)) this.#go(followed);
  }

  /** Ceases to follow a sandbox that was released. */
  removed({ containerId, ifName }: Key): void {
    for (const [name, followed] of this.#followed) {
      const { key } = followed;
      if (key.containerId !== containerId || key.ifName !== ifName) continue;
      followed.stop();
      this.#followed.delete(name);
    }
  }

  /**
   * Detaches one network of a pod now, by the journal alone, and holds it back until the annotation has ceased to ask for it.
   *
   * @param target The interface's name, or `namespace/name` of the network.
   * @throws {CniError} when there is none such, or it could not be released.
   */
  async detach(pod: { readonly namespace: string; readonly name: string }, target: string): Promise<PlannedAttachment> {
    const followed = this.#followed.get(podKey(pod));
    if (followed === undefined) {
      throw new CniError(
        ErrorCode.UnknownContainer,
        `pod ${podKey(pod)}: Plexus has attached no such pod on this node`,
      );
    }
    const { queue } = this.#options;
    const isThis = ({ ifName, network }: PlannedAttachment) => ifName === target || network === target;
    const context = this.#context(this.#settings());
    const planned = await queue.run(followed.key.containerId, () => detachHeld(followed.key, isThis, context));
    if (planned === undefined) {
      throw new CniError(
        ErrorCode.InvalidNetworkConfig,
        `pod ${podKey(pod)}: no network that its annotation asked for is attached as ${target}`,
      );
    }
    const message = `Remove ${planned.ifName} from ${planned.network}, and hold it back: plexus detach --now`;
    this.#tell(followed, { type: 'Normal', reason: 'RemovedInterface', message });
    followed.statusDue = true;
    this.#go(followed);
    return planned;
  }

  /** Begins nothing more. What is under way is in the journal. @param limitMs How long that is waited for. */
  async close(limitMs: number): Promise<void> {
    this.#closed = true;
    this.#strangers.close();
    for (const followed of this.#followed.values()) followed.stop();
    const timer = Promise.withResolvers<void>();
    const timeout = setTimeout(timer.resolve, limitMs);
    await Promise.race([Promise.all([...this.#working.values()].map(({ done }) => done)), timer.promise]);
    clearTimeout(timeout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(0);
  }

  /** Resolves once nothing is at work. What failed is tried again later. */
  async idle(): Promise<void> {
    while (this.#working.size > 0) await Promise.all([...this.#working.values()].map(({ done }) => done));
  }

  #follow({ containerId, ifName }: Key, identity: Identity | undefined, pod: Pod | undefined): Followed | undefined {
    if (identity === undefined) return undefined;
    const followed = new Followed({ containerId, ifName }, identity, pod);
    this.#followed.get(podKey(identity))?.stop();
    this.#followed.set(podKey(identity), followed);
    return followed;
  }

  #of({ metadata }: Pod): Followed | undefined {
    return this.#followed.get(podKey(metadata));
  }

  #sees(pod: Pod): void {
    const followed = this.#of(pod);
    if (followed?.sees(pod)) this.#go(followed);
    else if (followed === undefined) this.#strangers.sees(pod);
  }

  /** What was missing may be there. */
  #seesNetwork({ metadata }: NetworkAttachmentDefinition): void {
    for (const followed of this.#followed.values()) if (followed.failed.includes(podKey(metadata))) this.#go(followed);
  }

  #go(followed: Followed): void {
    if (this.#closed) return;
    const working = this.#working.get(followed);
    if (working !== undefined) {
      working.again = true;
      return;
    }
    followed.stop();
    this.#working.set(followed, { again: false, done: this.#work(followed) });
  }

  /** Never rejects. */
  async #work(followed: Followed): Promise<void> {
    let isDone = false;
    do {
      // Not before the caller has put it among those at work.
      await Promise.resolve();
      const working = this.#working.get(followed);
      if (working !== undefined) working.again = false;
      isDone = await this.#gate.run(() => this.#attempt(followed));
    } while (this.#working.get(followed)?.again && !this.#closed);
    this.#working.delete(followed);
    if (isDone) followed.settled();
    else if (!this.#closed && this.#isCurrent(followed)) {
      followed.later(this.#waits, this.#schedule, () => this.#go(followed));
    }
  }

  /** @returns Whether nothing is left to do. */
  async #attempt(followed: Followed): Promise<boolean> {
    try {
      const { changed, failed } = await this.#change(followed);
      followed.failed = failed;
      if (changed) followed.statusDue = true;
      if (followed.statusDue) await this.#publish(followed);
      return failed.length === 0;
    } catch (error) {
      const { key, identity } = followed;
      const { code, message, details } = toCniError(error);
      this.#options.log.warn(
        { pod: podKey(identity), ...key, code, details },
        `the networks of a running pod could not be brought to what it asks for: ${message}`,
      );
      return false;
    }
  }

  async #change(followed: Followed): Promise<ChangeOutcome> {
    const { queue, cluster } = this.#options;
    const { key, pod } = followed;
    const settings = this.#settings();
    const context = this.#context(settings);
    return queue.run(key.containerId, async () => {
      if (pod === undefined || settings === undefined) {
        const changed = this.#isCurrent(followed) && (await releaseUnsettled(key, context));
        return { changed, failed: [] };
      }
      const isWanted = (): boolean => this.#isCurrent(followed) && this.#isThere(followed);
      if (!isWanted()) return { changed: false, failed: [] };
      const tell = (event: PodEvent): void => this.#tell(followed, event);
      return changeSandbox({ key, pod, settings, cluster, isWanted, tell }, context);
    });
  }

  /** Writes what the pod has by now to its network-status, where that says otherwise. */
  async #publish(followed: Followed): Promise<void> {
    const { journal, queue, cluster } = this.#options;
    const { key, identity } = followed;
    const pod = cluster.knownPod(identity.namespace, identity.name);
    if (pod === undefined || !identity.isThis(pod)) return;
    const statuses = await queue.run(key.containerId, async () => {
      const entry = await journal.read(key);
      return entry?.complete && entry.deleted.size === 0 && this.#isCurrent(followed)
        ? sandboxStatus(entry)
        : undefined;
    });
    followed.statusDue = false;
    if (statuses === undefined) return;
    if (JSON.stringify(statuses, undefined, 4) === pod.metadata.annotations[networkStatusAnnotation]) return;
    try {
      await cluster.setNetworkStatus(pod, statuses);
    } catch (error) {
      followed.statusDue = true;
      throw error;
    }
    const now = this.#followed.get(podKey(identity));
    if (now === undefined || now === followed) return;
    // What the pod's next sandbox wrote meanwhile may have been overwritten.
    now.statusDue = true;
    this.#go(now);
  }

  #isCurrent(followed: Followed): boolean {
    return !this.#closed && this.#followed.get(podKey(followed.identity)) === followed;
  }

  /** Whether the pod is there and stays. */
  #isThere({ identity }: Followed): boolean {
    const pod = this.#options.cluster.knownPod(identity.namespace, identity.name);
    return pod !== undefined && identity.isThis(pod) && pod.metadata.deletionTimestamp === undefined;
  }

  #tell(followed: Followed, event: PodEvent): void {
    const { cluster, log } = this.#options;
    const { pod, key, identity } = followed;
    const isProblem = event.type === 'Warning';
    if (isProblem && !followed.isNews(`${event.reason} ${event.message}`)) return;
    log[isProblem ? 'warn' : 'info']({ pod: podKey(identity), ...key, reason: event.reason }, event.message);
    if (pod !== undefined) cluster.event(pod, event);
  }

  /** What the runtime's calls are held to; undefined while none has come that can be understood. */
  #settings(): Settings | undefined {
    const { runtimeCall, overlay } = this.#options;
    if (runtimeCall.current === undefined) return undefined;
    return parseSettings({ ...runtimeCall.current.config, ...overlay }, 'the CNI configuration of Plexus');
  }

  #context(settings: Settings | undefined): ReleaseContext {
    const { journal, runner, runtimeCall, report } = this.#options;
    const path = [...splitPath(settings?.binDir ?? ''), ...(runtimeCall.current?.path ?? [])];
    return { journal, runner, path: [...new Set(path)], report };
  }
}
