import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { Attachment } from '../cni/plugin.ts';
import { NetworkNotFoundError } from '../kubernetes/networks.ts';
import type { PlanRequest } from './plan.ts';

/** Tells the pod why it gets nothing, and the runtime which pod it is about. */
export function rejected(error: unknown, { cluster, pod, attachment }: PlanRequest): never {
  const { code, message, details } = explained(error);
  if (pod === undefined) throw new CniError(code, message, details, { cause: error });
  const told = message.includes(details) ? message : `${message} (${details})`;
  // Multus has a reason of its own for this one, which people look for.
  const reason = error instanceof NetworkNotFoundError ? 'NoNetworkFound' : 'FailedAddingInterface';
  cluster?.event(pod, { type: 'Warning', reason, message: withoutSandbox(told, attachment) });
  const { namespace, name } = pod.metadata;
  throw new CniError(code, `pod ${namespace}/${name}: ${message}`, details, { cause: error });
}

/** What the disk refused, beside what plugins keep there, is the journal. */
export function explained(error: unknown): CniError {
  if (!(error instanceof Error && 'syscall' in error)) return toCniError(error);
  return new CniError(
    ErrorCode.IoFailure,
    `the journal of the daemon cannot be written: ${error.message}`,
    'see the disk of the node that has the "stateDir" of the daemon: it is full, read-only, or fails',
    { cause: error },
  );
}

/** Each try has a sandbox of its own. Without its names, what fails for the same reason is one event that is counted. */
function withoutSandbox(text: string, { netns, containerId }: Attachment): string {
  const named = netns === '' ? text : text.replaceAll(netns, 'CNI_NETNS');
  return named.replaceAll(containerId, 'CNI_CONTAINERID');
}
