import { Backoff } from './backoff.ts';
import { type Client, segment } from './client.ts';
import { ApiError, isNotFound } from './error.ts';
import { kubeletUid } from './pods.ts';
import { retry } from './retry.ts';
import { type Pod, podSchema } from './schemas.ts';
import { metadataForm } from './watch.ts';

export const networkStatusAnnotation = 'k8s.v1.cni.cncf.io/network-status';

/**
 * One entry of the annotation: "Multi-Network Specification" v1.3 of the Network Plumbing Working Group, section
 * "Network Attachment Selection Annotation Status".
 */
export interface NetworkStatus {
  /** `namespace/definition`; for the default network, its configuration's name. */
  readonly name: string;
  readonly interface?: string | undefined;
  /** Without prefix length. */
  readonly ips?: readonly string[] | undefined;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** Only ever true: the one network that is the pod's default. */
  readonly default?: true | undefined;
  readonly dns: {
    readonly nameservers?: readonly string[] | undefined;
    readonly domain?: string | undefined;
    readonly search?: readonly string[] | undefined;
    readonly options?: readonly string[] | undefined;
  };
  readonly 'device-info'?: unknown;
  /** Gateways of default routes. */
  readonly gateway?: readonly string[] | undefined;
}

/** The API server takes 256 KiB of annotations for one object. */
const maxAnnotation = 200 * 1024;

/**
 * Writes the network-status annotation, through the status subresource as Multus does: that is what its role allows.
 * The patch carries the pod's UID, so a pod that took over the name is never written to.
 *
 * @returns False when the pod is gone, and with it anyone who would read its status.
 * @throws {ApiError} when the server refuses, or stays away for some seconds.
 */
export async function setNetworkStatus(
  client: Client,
  pod: Pod,
  statuses: readonly NetworkStatus[],
  signal: AbortSignal,
): Promise<boolean> {
  const { namespace, name, uid } = pod.metadata;
  const value = JSON.stringify(statuses, undefined, 4);
  const size = Buffer.byteLength(value);
  if (size > maxAnnotation) {
    const what = `network-status of pod ${namespace}/${name}`;
    throw new ApiError(`${what} is ${size} bytes long, at most ${maxAnnotation} fit`, { status: 413 });
  }
  const path = `/api/v1/namespaces/${segment('namespace', namespace)}/pods/${segment('pod', name)}`;
  let target = uid;
  let moved = false;
  const write = async (): Promise<boolean> => {
    moved = false;
    const body = { metadata: { uid: target, annotations: { [networkStatusAnnotation]: value } } };
    const contentType = 'application/merge-patch+json';
    try {
      await client.request({ method: 'PATCH', path: `${path}/status`, contentType, body, timeout: 5_000, signal });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      if (!isRefusal(error)) throw error;
      const current = await currentPod(client, path, signal, error);
      if (current === undefined || kubeletUid(current) !== kubeletUid(pod)) return false;
      // The mirror of a static pod was made anew, and is another object; the pod itself still runs.
      moved = current.metadata.uid !== target;
      target = current.metadata.uid;
      throw error;
    }
  };
  const backoff = new Backoff(100, 2_000);
  return retry(write, { attempts: 5, backoff, signal, also: (error) => moved || isConflict(error) });
}

function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409;
}

/**
 * Whether a wrong UID may be why. A patch is refused for it as invalid, "metadata.uid: field is immutable"
 * (ValidateObjectMetaAccessorUpdate in apimachinery); a precondition that fails, as a conflict.
 */
function isRefusal(error: unknown): boolean {
  return isConflict(error) || (error instanceof ApiError && error.status === 422);
}

/**
 * The pod that has the name now; undefined where none has.
 *
 * @throws The refusal that led here, where it cannot be known.
 */
async function currentPod(
  client: Client,
  path: string,
  signal: AbortSignal,
  refusal: unknown,
): Promise<Pod | undefined> {
  try {
    const accept = metadataForm('PartialObjectMetadata');
    return podSchema.parse(await client.request({ path, accept, timeout: 5_000, signal }));
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw refusal;
  }
}
