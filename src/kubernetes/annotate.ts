import { z } from 'zod';
import { type Client, segment } from './client.ts';
import { kubeletUid } from './pods.ts';
import { type Pod, podSchema } from './schemas.ts';

const podPath = (namespace: string, name: string): string =>
  `/api/v1/namespaces/${segment('namespace', namespace)}/pods/${segment('pod', name)}`;

/** Reads one pod from the server. @throws {ApiError} */
export async function readPod(client: Client, namespace: string, name: string): Promise<Pod> {
  return podSchema.parse(await client.request({ path: podPath(namespace, name) }));
}

/**
 * Sets one annotation of a pod, or removes it, unless somebody has changed the pod since it was read.
 *
 * @throws {ApiError} 409 when somebody has.
 */
export async function annotatePod(
  client: Client,
  pod: Pod,
  annotation: string,
  value: string | undefined,
): Promise<Pod> {
  const { namespace, name, uid, resourceVersion } = pod.metadata;
  const metadata = { uid, resourceVersion, annotations: { [annotation]: value ?? null } };
  const contentType = 'application/merge-patch+json';
  const patch = { method: 'PATCH', path: podPath(namespace, name), contentType, body: { metadata } } as const;
  return podSchema.parse(await client.request(patch));
}

const eventsSchema = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ uid: z.string() }),
      reason: z.string().default(''),
      message: z.string().default(''),
      count: z.number().nullish(),
    }),
  ),
});

export interface ToldEvent {
  readonly uid: string;
  readonly reason: string;
  readonly message: string;
  /** How often it has happened. */
  readonly count: number;
}

/** The events of a pod. @throws {ApiError} */
export async function podEvents(client: Client, pod: Pod): Promise<ToldEvent[]> {
  const path = `/api/v1/namespaces/${segment('namespace', pod.metadata.namespace)}/events`;
  const query = { fieldSelector: `involvedObject.uid=${kubeletUid(pod)}` };
  const { items } = eventsSchema.parse(await client.request({ path, query }));
  return items.map(({ metadata, reason, message, count }) => ({
    uid: metadata.uid,
    reason,
    message,
    count: count ?? 1,
  }));
}
