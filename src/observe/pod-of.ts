import { parseArgs } from '../cni/args.ts';
import type { Entry } from '../journal/entry.ts';

/** `namespace/name` of the pod that a sandbox is for, also where there was no cluster to ask; undefined for none. */
export function podOf({ plan }: Entry): string | undefined {
  if (plan.pod !== undefined) return `${plan.pod.namespace}/${plan.pod.name}`;
  const args = parseArgs(plan.args);
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  return namespace && name ? `${namespace}/${name}` : undefined;
}
