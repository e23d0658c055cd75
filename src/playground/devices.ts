import { requestingPod, requestsOf } from '../kubernetes/requests.ts';
import type { StoredObject } from './api/object.ts';
import type { GivenResources } from './pod-resources.ts';

/** The devices that one pod has of one resource. */
interface Given {
  readonly uid: string;
  readonly resource: string;
  readonly ids: readonly string[];
}

/**
 * The devices of the playground's node: made up, and given to pods as kubelet gives those of device plugins. What is not
 * among them, such as memory, is not counted.
 */
export class NodeDevices {
  /** By resource. */
  readonly #all: ReadonlyMap<string, readonly string[]>;
  readonly #pods = new Map<string, { readonly namespace: string; readonly name: string }>();
  #given: readonly Given[] = [];

  constructor(all: ReadonlyMap<string, readonly string[]>) {
    this.#all = all;
  }

  /**
   * Gives a pod what its containers request; once, however often it is asked for.
   *
   * @returns The resource of which too few are free; undefined when the pod has all.
   */
  allocate({ metadata: { uid, name, namespace = 'default' }, ...pod }: StoredObject): string | undefined {
    if (this.#pods.has(uid)) return undefined;
    const { success, data } = requestingPod.safeParse(pod);
    const counts = success ? requestsOf(data).counts : new Map<string, number>();
    const wanted: Given[] = [];
    for (const [resource, all] of this.#all) {
      const count = counts.get(resource) ?? 0;
      const used = new Set(this.#given.flatMap((given) => (given.resource === resource ? given.ids : [])));
      const free = all.filter((id) => !used.has(id));
      if (free.length < count) return resource;
      if (count > 0) wanted.push({ uid, resource, ids: free.slice(0, count) });
    }
    this.#pods.set(uid, { namespace, name });
    this.#given = [...this.#given, ...wanted];
    return undefined;
  }

  /** Takes back what a pod has. */
  release(uid: string): void {
    this.#pods.delete(uid);
    this.#given = this.#given.filter((given) => given.uid !== uid);
  }

  /** What all pods have, as kubelet tells it. */
  resources(): GivenResources[] {
    return [...this.#pods].map(([uid, pod]) => {
      const devices = this.#given
        .filter((given) => given.uid === uid)
        .map(({ resource, ids }) => ({ resourceName: resource, deviceIds: [...ids] }));
      return { ...pod, containers: [{ name: 'all', devices }] };
    });
  }
}

/**
 * Reads devices as the command line gives them.
 *
 * @param texts Each `RESOURCE=ID`.
 * @throws {Error} for one of another form.
 */
export function parseDevices(texts: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const devices = new Map<string, string[]>();
  for (const text of texts) {
    const [resource = '', id = ''] = text.split(/=(.*)/s);
    if (resource === '' || id === '') {
      throw new Error(`--device: expected RESOURCE=ID, such as intel.com/sriov=0000:03:02.1, found "${text}"`);
    }
    devices.set(resource, [...(devices.get(resource) ?? []), id]);
  }
  return devices;
}
