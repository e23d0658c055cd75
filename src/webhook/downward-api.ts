import type { JsonObject } from '../cni/json.ts';
import type { PatchOperation } from './admission-review.ts';
import type { PodSpec } from './pod-spec.ts';

/** Names that network-resources-injector has, and programs such as app-netutil look for. */
const volumeName = 'podnetinfo';
const mountPath = '/etc/podnetinfo';
const nameVariable = 'CONTAINER_NAME';

const hugepages = [
  { resource: 'hugepages-1Gi', file: 'hugepages_1G' },
  { resource: 'hugepages-2Mi', file: 'hugepages_2M' },
] as const;

/**
 * Shows the containers of a pod its labels and annotations, network-status among them, and the huge pages that they request,
 * in MiB, below /etc/podnetinfo; those with huge pages have their own name in CONTAINER_NAME.
 *
 * @returns Nothing for a pod that has such a volume already.
 */
export function downwardApi({ containers, volumes }: PodSpec): PatchOperation[] {
  if (volumes?.some(({ name }) => name === volumeName)) return [];
  const files: JsonObject[] = [
    { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
    { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
  ];
  const operations: PatchOperation[] = [];
  for (const [index, { name, resources, env, volumeMounts }] of containers.entries()) {
    const own = hugepages.flatMap(({ resource, file }) =>
      (['requests', 'limits'] as const).flatMap((kind) => {
        const amount = resources?.[kind]?.[resource];
        if (amount === undefined || String(amount) === '0') return [];
        const resourceFieldRef = { containerName: name, resource: `${kind}.${resource}`, divisor: '1Mi' };
        return [{ path: `${file}_${kind.replace(/s$/, '')}_${name}`, resourceFieldRef }];
      }),
    );
    files.push(...own);
    const hasName = env?.some((variable) => variable.name === nameVariable) ?? false;
    if (own.length > 0 && !hasName) {
      operations.push(appended(`/spec/containers/${index}/env`, env, { name: nameVariable, value: name }));
    }
    const isTaken = volumeMounts?.some((mount) => mount.mountPath === mountPath) ?? false;
    if (!isTaken) {
      const mount = { name: volumeName, mountPath, readOnly: true };
      operations.push(appended(`/spec/containers/${index}/volumeMounts`, volumeMounts, mount));
    }
  }
  const volume = { name: volumeName, downwardAPI: { items: files } };
  return [...operations, appended('/spec/volumes', volumes, volume)];
}

/** A list may be missing. */
function appended(path: string, list: readonly unknown[] | null | undefined, value: JsonObject): PatchOperation {
  return list?.length ? { op: 'add', path: `${path}/-`, value } : { op: 'add', path, value: [value] };
}
