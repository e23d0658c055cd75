import { CniError, ErrorCode } from '../cni/error.ts';
import { type Client, segment } from './client.ts';
import { isNotFound } from './error.ts';
import type { Log } from './log.ts';
import { type Pod, podSchema } from './schemas.ts';
import { Reflector, type WatchTimings } from './watch.ts';

/** The pod does not exist. */
export class PodNotFoundError extends CniError {}

/** There is a pod of that name, but it is another one. */
export class PodReplacedError extends CniError {}

export interface PodsOptions {
  readonly client: Client;
  /** Only pods of this node are watched. */
  readonly nodeName: string;
  readonly log: Log;
  readonly timings?: Partial<WatchTimings>;
}

/** The pods of this node. */
export class Pods implements AsyncDisposable {
  readonly watch: Reflector<Pod>;
  readonly #client: Client;
  readonly #log: Log;

  constructor({ client, nodeName, log, timings = {} }: PodsOptions) {
    this.#client = client;
    this.#log = log;
    this.watch = new Reflector({
      client,
      path: '/api/v1/pods',
      fieldSelector: `spec.nodeName=${segment('node', nodeName)}`,
      schema: podSchema,
      log,
      timings,
    });
  }

  /**
   * The pod that a sandbox belongs to. From the watch where that is up to date and has the very pod; else from the
   * server; and while the server cannot be reached, from the watch as it was, rather than not at all.
   *
   * @param uid The UID that the runtime gave. A pod recreated under its old name has another; its networks are not this
   *   sandbox's business. Not compared for static pods, whose mirror in the API has a UID of its own.
   * @throws {PodNotFoundError | PodReplacedError | CniError} 11 when it cannot be known now.
   */
  async get(namespace: string, name: string, uid?: string): Promise<Pod> {
    const known = this.watch.get(namespace, name);
    if (known !== undefined && this.watch.live && isThe(known, uid)) return known;
    let pod: Pod;
    try {
      pod = await this.fetch(namespace, name);
    } catch (error) {
      if (isNotFound(error)) {
        throw new PodNotFoundError(ErrorCode.TryAgainLater, `pod ${namespace}/${name} does not exist`, '', {
          cause: error,
        });
      }
      const message = error instanceof Error ? error.message : String(error);
      if (known !== undefined && isThe(known, uid)) {
        this.#log.warn({ pod: `${namespace}/${name}`, error: message }, 'using the pod as it was last seen');
        return known;
      }
      const wanted = `cannot read pod ${namespace}/${name} from the Kubernetes API`;
      throw new CniError(ErrorCode.TryAgainLater, wanted, message, { cause: error });
    }
    if (isThe(pod, uid)) return pod;
    throw new PodReplacedError(
      ErrorCode.Internal,
      `pod ${namespace}/${name}: the sandbox belongs to the pod with UID ${uid}, the Kubernetes API has one with UID ${pod.metadata.uid}`,
      'the pod was deleted and created again under the same name; its new sandbox will be attached',
    );
  }

  /** The pod as the server has it now. @throws {ApiError} */
  async fetch(namespace: string, name: string): Promise<Pod> {
    const path = `/api/v1/namespaces/${segment('namespace', namespace)}/pods/${segment('pod', name)}`;
    return podSchema.parse(await this.#client.request({ path, timeout: 5_000 }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch.close();
  }
}

function isThe(pod: Pod, uid: string | undefined): boolean {
  return uid === undefined || pod.metadata.uid === uid || isStatic(pod);
}

/** Whether the kubelet made the pod from a file or URL of its own; the API then holds a mirror of it. */
export function isStatic({ metadata: { annotations } }: Pod): boolean {
  const source = annotations['kubernetes.io/config.source'];
  return annotations['kubernetes.io/config.mirror'] !== undefined || (source !== undefined && source !== 'api');
}
