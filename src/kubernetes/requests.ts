import { z } from 'zod';
import { type Client, segment } from './client.ts';
import type { Pod } from './schemas.ts';

/** Extended resources are counted in whole ones (kubernetes.io/docs: "Manage Resources for Containers"). */
const amounts = z
  .record(z.string(), z.union([z.string(), z.number()]))
  .nullish()
  .transform((record) => record ?? {});

const container = z.object({
  restartPolicy: z.string().optional(),
  resources: z.object({ requests: amounts, limits: amounts }).nullish(),
});

/** A pod, as much of it as says what it requests. */
export const requestingPod = z.object({
  spec: z.object({
    containers: z.array(container),
    initContainers: z.array(container).nullish(),
    resourceClaims: z.array(z.unknown()).nullish(),
  }),
});

/** What a pod requests of resources that are counted. */
export interface PodRequests {
  /** How many, by the name of the resource. */
  readonly counts: ReadonlyMap<string, number>;
  /** Whether it has ResourceClaims, which may stand for devices of any resource. */
  readonly hasClaims: boolean;
}

/**
 * What the containers of a pod request together, those that only initialise it left out: kubelet does not name the devices
 * of these.
 *
 * @throws {ApiError}
 */
export async function podRequests(client: Client, { metadata }: Pod, signal: AbortSignal): Promise<PodRequests> {
  const path = `/api/v1/namespaces/${segment('namespace', metadata.namespace)}/pods/${segment('pod', metadata.name)}`;
  return requestsOf(requestingPod.parse(await client.request({ path, timeout: 5_000, signal })));
}

/** @see podRequests */
export function requestsOf({ spec }: z.infer<typeof requestingPod>): PodRequests {
  const lasting = (spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const counts = new Map<string, number>();
  for (const { resources } of [...lasting, ...spec.containers]) {
    for (const [name, amount] of Object.entries({ ...resources?.limits, ...resources?.requests })) {
      counts.set(name, (counts.get(name) ?? 0) + Number(amount));
    }
  }
  return { counts, hasClaims: (spec.resourceClaims ?? []).length > 0 };
}
