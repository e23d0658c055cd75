import type { PatchOperation } from './admission-review.ts';
import type { PodSpec } from './pod-spec.ts';

/**
 * Has a pod be put on nodes with the labels that its networks want. What a network wants counts more than what the pod says of
 * the same label, as in network-resources-injector: elsewhere there is no such network.
 *
 * @param labels With the network that wants each.
 * @param warnings What is overridden is added to it.
 */
export function injectNodeSelector(
  { nodeSelector }: PodSpec,
  labels: readonly (readonly [name: string, value: string, network: string])[],
  warnings: string[],
): PatchOperation[] {
  const selector = new Map(Object.entries(nodeSelector ?? {}));
  for (const [name, value, network] of labels) {
    const before = selector.get(name);
    if (before !== undefined && before !== value) {
      warnings.push(`network ${network} is on nodes with ${name}=${value}, in the place of ${name}=${before}`);
    }
    selector.set(name, value);
  }
  const isChanged = [...selector].some(([name, value]) => nodeSelector?.[name] !== value);
  return isChanged ? [{ op: 'add', path: '/spec/nodeSelector', value: Object.fromEntries(selector) }] : [];
}
