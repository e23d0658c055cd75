import type { PatchOperation } from './admission-review.ts';
import type { Container, PodSpec } from './pod-spec.ts';

/**
 * Has a pod request as many devices of each resource as its networks need, where it does not do so already: what is missing is
 * added in the container that requests some, else in the first. Asked again about the pod that this makes, nothing is to be
 * changed.
 *
 * Kubernetes wants a request of such a resource to be its limit as well ("Manage Resources for Containers", Extended resources).
 *
 * @param warnings What cannot be counted is added to it.
 */
export function injectResources(
  { containers, initContainers }: PodSpec,
  wanted: ReadonlyMap<string, number>,
  warnings: string[],
): PatchOperation[] {
  const missing = containers.map(() => new Map<string, number>());
  // Those that only initialise the pod give their devices back; kubelet names no network any of them.
  const lasting = (initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  for (const [resource, count] of wanted) {
    const amounts = containers.map((container) => amountOf(container, resource));
    const has = sum([...amounts, ...lasting.map((container) => amountOf(container, resource))]);
    if (Number.isNaN(has)) {
      warnings.push(`resource ${resource}: the pod requests an amount that is no whole number; it is left as it is`);
    } else if (has < count) {
      const place = Math.max(
        amounts.findIndex((amount) => amount > 0),
        0,
      );
      missing[place]?.set(resource, (amounts[place] ?? 0) + count - has);
    }
  }
  return containers.flatMap((container, index) => adding(container, index, missing[index] ?? new Map()));
}

/** A container may have no resources, or no requests or limits among them. */
function adding({ resources }: Container, index: number, amounts: ReadonlyMap<string, number>): PatchOperation[] {
  if (amounts.size === 0) return [];
  const added = Object.fromEntries([...amounts].map(([resource, amount]) => [resource, String(amount)]));
  const path = `/spec/containers/${index}/resources`;
  if (!resources) return [{ op: 'add', path, value: { requests: added, limits: added } }];
  return (['requests', 'limits'] as const).map((kind) => {
    return { op: 'add', path: `${path}/${kind}`, value: { ...resources[kind], ...added } };
  });
}

const sum = (amounts: readonly number[]): number => amounts.reduce((total, amount) => total + amount, 0);

/** A request that is not given is the limit (the same page, Requests and limits). NaN for no whole number. */
function amountOf({ resources }: Container, resource: string): number {
  const amount = resources?.requests?.[resource] ?? resources?.limits?.[resource] ?? 0;
  const [, digits, suffix = ''] = /^(\d{1,12})(|k|M|G|Ki|Mi|Gi)$/.exec(String(amount)) ?? [];
  const factor = factors[suffix];
  return digits === undefined || factor === undefined ? Number.NaN : Number(digits) * factor;
}

/** Of quantities (apimachinery: resource.Quantity), as far as anybody may have that many devices. */
const factors: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
};
