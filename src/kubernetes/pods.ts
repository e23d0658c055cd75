import { CniError, ErrorCode } from '../cni/error.ts';
import { Cached } from './cached.ts';
import { type Client, segment } from './client.ts';
import type { Log } from './log.ts';
import { hostNetworkSchema, type Pod, podSchema } from './schemas.ts';
import type { Reflector, WatchTimings } from './watch.ts';

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
  readonly #client: Client;
  readonly #pods: Cached<Pod>;

  constructor({ nodeName, ...options }: PodsOptions) {
    this.#client = options.client;
    this.#pods = new Cached({
      ...options,
      kind: 'pod',
      root: '/api/v1',
      plural: 'pods',
      fieldSelector: `spec.nodeName=${segment('node', nodeName)}`,
      metadataOnly: true,
      schema: podSchema,
    });
  }

  get watch(): Reflector<Pod> {
    return this.#pods.watch;
  }

  /**
   * The pod that a sandbox belongs to. From the watch where that is up to date and has the very pod; else from the
   * server; and while the server cannot be reached, from the watch as it was, rather than not at all.
   *
   * @param uid The UID that the runtime gave. A pod recreated under its old name has another; its networks are not this
   *   sandbox's business. Without one the watch, which may be a moment behind, is not trusted.
   * @throws {PodNotFoundError | PodReplacedError | CniError} 11 when it cannot be known now.
   */
  async get(namespace: string, name: string, uid?: string): Promise<Pod> {
    const isThis = (candidate: Pod): boolean => uid === undefined || kubeletUid(candidate) === uid;
    const pod = await (uid === undefined
      ? this.#pods.fetch(namespace, name, isThis)
      : this.#pods.get(namespace, name, isThis));
    if (pod === undefined) {
      throw new PodNotFoundError(ErrorCode.TryAgainLater, `pod ${namespace}/${name} does not exist`);
    }
    if (isThis(pod)) return pod;
    throw new PodReplacedError(
      ErrorCode.TryAgainLater,
      `pod ${namespace}/${name}: the sandbox belongs to the pod with UID ${uid}, the Kubernetes API has one with UID ${kubeletUid(pod)}`,
      'the pod was deleted and created again under the same name; its new sandbox will be attached',
    );
  }

  /**
   * Whether a pod has the network of its node. The server is asked, for the copy has no more than metadata.
   *
   * @throws {ApiError} when it cannot be known now, or the pod is gone.
   */
  async hasHostNetwork({ metadata }: Pod): Promise<boolean> {
    const path = `/api/v1/namespaces/${segment('namespace', metadata.namespace)}/pods/${segment('pod', metadata.name)}`;
    const { spec } = hostNetworkSchema.parse(await this.#client.request({ path, timeout: 5_000 }));
    return spec?.hostNetwork === true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pods[Symbol.asyncDispose]();
  }
}

/**
 * The UID that the kubelet and with it the container runtime know the pod by. A static pod, which the kubelet made from a
 * file or URL, is in the API as a mirror with a UID of its own, which carries the pod's in an annotation
 * (kubernetes/pkg/kubelet: pod/mirror_client.go, config/common.go).
 */
export function kubeletUid({ metadata }: Pod): string {
  return metadata.annotations['kubernetes.io/config.mirror'] ?? metadata.uid;
}

/**
 * Whether one state of an object is older than another. Versions of objects are numbers that grow (Kubernetes API concepts,
 * "Resource versions"); of those that are none, nothing is known.
 */
export function isOlder(a: Pod, b: Pod): boolean {
  const [first = '', second = ''] = [a.metadata.resourceVersion, b.metadata.resourceVersion];
  return /^\d+$/.test(first) && /^\d+$/.test(second) && BigInt(first) < BigInt(second);
}
