import type { CniArgs } from '../../cni/args.ts';
import type { Plan } from '../../journal/entry.ts';
import { kubeletUid } from '../../kubernetes/pods.ts';
import type { Pod } from '../../kubernetes/schemas.ts';

/** Which pod a sandbox is for. */
export interface Identity {
  readonly namespace: string;
  readonly name: string;
  /** False for another pod of the same name. */
  isThis(pod: Pod): boolean;
}

/**
 * Tells the pod of a sandbox by what was found when it was planned, and by what the runtime said, which is all there is of one that was attached
 * while the API server was away.
 *
 * @returns undefined for a sandbox of which no pod is known for sure.
 */
export function identityOf(pod: Plan['pod'], args: CniArgs): Identity | undefined {
  const namespace = pod?.namespace ?? args.get('K8S_POD_NAMESPACE');
  const name = pod?.name ?? args.get('K8S_POD_NAME');
  const statedUid = args.get('K8S_POD_UID') || undefined;
  if (!namespace || !name || (pod === undefined && statedUid === undefined)) return undefined;
  return {
    namespace,
    name,
    isThis: (candidate) => candidate.metadata.uid === pod?.uid || kubeletUid(candidate) === statedUid,
  };
}

export const podKey = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;
