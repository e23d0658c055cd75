import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import { type Client, segment } from './client.ts';
import { ApiError, isNotFound, messageOf } from './error.ts';
import { listSchema, type Pod } from './schemas.ts';

/*
 * Devices that a pod has through ResourceClaims (resource.k8s.io/v1, Dynamic Resource Allocation). Drivers that are meant
 * for networks say in attributes of their devices which resource of a network each is, and what plugins call it.
 */

/** Attributes of a device, as Multus reads them. */
const deviceIdAttribute = 'k8s.cni.cncf.io/deviceID';
const resourceNameAttribute = 'k8s.cni.cncf.io/resourceName';

/** A device that was allocated to a pod. Its texts come from a driver, and may be anything. */
export interface ClaimedDevice {
  /** The resource that networks name. */
  readonly resource: string;
  /** What plugins know the device by. */
  readonly id: string;
}

/** More pages than this are no list of one driver's devices. */
const maxPages = 50;

const named = z.object({ name: z.string(), resourceClaimName: z.string().nullish() });

const podClaims = z.object({
  metadata: z.object({ uid: z.string() }),
  spec: z.object({ resourceClaims: z.array(named).nullish() }),
  status: z
    .object({
      /** Of claims that were made from templates. */
      resourceClaimStatuses: z.array(named).nullish(),
      /** Of the claim that stands for resources which the containers request by name. */
      extendedResourceClaimStatus: z
        .object({
          resourceClaimName: z.string(),
          requestMappings: z.array(z.object({ resourceName: z.string(), requestName: z.string() })).nullish(),
        })
        .nullish(),
    })
    .nullish(),
});

const allocation = z.object({ request: z.string(), driver: z.string(), pool: z.string(), device: z.string() });

const claimSchema = z.object({
  status: z
    .object({
      allocation: z.object({ devices: z.object({ results: z.array(allocation).nullish() }).nullish() }).nullish(),
    })
    .nullish(),
});

const sliceSchema = z.object({
  spec: z.object({
    driver: z.string(),
    pool: z.object({ name: z.string(), generation: z.number().default(0) }),
    devices: z
      .array(
        z.object({
          name: z.string(),
          attributes: z.record(z.string(), z.object({ string: z.string().optional() })).nullish(),
        }),
      )
      .nullish(),
  }),
});

type Allocation = z.infer<typeof allocation>;
type Slice = z.infer<typeof sliceSchema>;

/** One claim of a pod, with the resource that each of its requests stands for, where the pod itself says so. */
interface PodClaim {
  readonly name: string;
  readonly resources: ReadonlyMap<string, string>;
}

/**
 * The devices of networks that a pod has through claims; none where it has no claims. Devices without a deviceID are no
 * networks'.
 *
 * @throws {CniError} 11 when it cannot be known now, or a claim was not allocated yet.
 */
export async function claimedDevices(client: Client, pod: Pod, signal: AbortSignal): Promise<ClaimedDevice[]> {
  const { namespace, name } = pod.metadata;
  const get = (path: string): Promise<unknown> => client.request({ path, timeout: 5_000, signal });
  try {
    const claims = await claimsOf(get, pod);
    if (claims.length === 0) return [];
    const allocated = (await Promise.all(claims.map((claim) => allocationsOf(get, namespace, claim)))).flat();
    const drivers = new Set(allocated.map(({ driver }) => driver));
    const slices = await Promise.all([...drivers].map((driver) => slicesOf(client, driver, signal)));
    return allocated.flatMap((each) => deviceOf(each, slices.flat()) ?? []);
  } catch (error) {
    if (error instanceof CniError) throw error;
    const wanted = `cannot read the resource claims of pod ${namespace}/${name} from the Kubernetes API`;
    const isForbidden = error instanceof ApiError && error.status === 403;
    const remedy = isForbidden ? '; allow the daemon to get resourceclaims and to list resourceslices' : '';
    throw new CniError(ErrorCode.TryAgainLater, wanted, `${messageOf(error)}${remedy}`, { cause: error });
  }
}

async function claimsOf(get: (path: string) => Promise<unknown>, { metadata }: Pod): Promise<PodClaim[]> {
  const path = `/api/v1/namespaces/${segment('namespace', metadata.namespace)}/pods/${segment('pod', metadata.name)}`;
  const { metadata: found, spec, status } = podClaims.parse(await get(path));
  // Those of a pod that took over the name are not this one's.
  if (found.uid !== metadata.uid) return [];
  const all = [...(spec.resourceClaims ?? []), ...(status?.resourceClaimStatuses ?? [])];
  const names = new Set(all.flatMap(({ resourceClaimName }) => resourceClaimName || []));
  const claims: PodClaim[] = [...names].map((name) => ({ name, resources: new Map() }));
  const extended = status?.extendedResourceClaimStatus;
  if (extended) {
    const mappings = extended.requestMappings ?? [];
    const resources = new Map(mappings.map(({ requestName, resourceName }) => [requestName, resourceName]));
    claims.push({ name: extended.resourceClaimName, resources });
  }
  return claims;
}

interface AllocatedDevice extends Allocation {
  readonly resource: string | undefined;
}

async function allocationsOf(
  get: (path: string) => Promise<unknown>,
  namespace: string,
  { name, resources }: PodClaim,
): Promise<AllocatedDevice[]> {
  const where = `${apiRoot}/namespaces/${segment('namespace', namespace)}/resourceclaims/${segment('resource claim', name)}`;
  const { status } = claimSchema.parse(await get(where).catch((error: unknown) => missing(error, namespace, name)));
  const results = status?.allocation?.devices?.results ?? [];
  if (results.length > 0) return results.map((each) => ({ ...each, resource: resources.get(each.request) }));
  throw new CniError(
    ErrorCode.TryAgainLater,
    `resource claim ${namespace}/${name} has no device yet`,
    'see why by `kubectl describe resourceclaim`',
  );
}

function missing(error: unknown, namespace: string, name: string): never {
  if (!isNotFound(error)) throw error;
  throw new CniError(ErrorCode.TryAgainLater, `resource claim ${namespace}/${name} does not exist`, messageOf(error));
}

const apiRoot = '/apis/resource.k8s.io/v1';

async function slicesOf(client: Client, driver: string, signal: AbortSignal): Promise<Slice[]> {
  const slices: Slice[] = [];
  let next: string | undefined;
  for (let page = 0; page < maxPages; page++) {
    const query = { fieldSelector: `spec.driver=${segment('driver', driver)}`, limit: '100', continue: next };
    const answer = await client.request({ path: `${apiRoot}/resourceslices`, query, timeout: 5_000, signal });
    const { metadata, items } = listSchema.parse(answer);
    for (const item of items) {
      const { success, data } = sliceSchema.safeParse(item);
      if (success) slices.push(data);
    }
    next = metadata.continue || undefined;
    if (next === undefined) return slices;
  }
  throw new Error(`driver ${driver} has more than ${maxPages} pages of resource slices`);
}

/** Of the slices of a pool only those of its newest generation count. */
function deviceOf(
  { driver, pool, device, resource }: AllocatedDevice,
  slices: readonly Slice[],
): ClaimedDevice | undefined {
  const own = slices.filter(({ spec }) => spec.driver === driver && spec.pool.name === pool);
  const newest = Math.max(...own.map(({ spec }) => spec.pool.generation));
  const found = own
    .filter(({ spec }) => spec.pool.generation === newest)
    .flatMap(({ spec }) => spec.devices ?? [])
    .find(({ name }) => name === device);
  const id = found?.attributes?.[deviceIdAttribute]?.string;
  const name = resource ?? found?.attributes?.[resourceNameAttribute]?.string;
  return id && name ? { resource: name, id } : undefined;
}
