import { CniError, ErrorCode } from '../cni/error.ts';
import type { Pod } from '../kubernetes/schemas.ts';
import type { NetworkSelection } from './selection.ts';
import type { Settings } from './settings.ts';

/** Global whatever the administrator sets. */
const alwaysGlobal = 'default';

/**
 * Where namespaces are isolated, holds a pod to networks of its own namespace and of global ones.
 *
 * @param annotation Where the pod asks for the network, for the message.
 * @throws {CniError} 7 naming the pod, its namespace, the network, and who can change what.
 */
export function requireAllowed(
  { namespace, name }: NetworkSelection,
  annotation: string,
  { metadata }: Pod,
  { namespaceIsolation, globalNamespaces }: Settings,
): void {
  if (!namespaceIsolation || namespace === metadata.namespace || namespace === alwaysGlobal) return;
  const global = globalNamespaces.split(',').map((each) => each.trim());
  if (global.includes(namespace)) return;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `annotation ${annotation}: namespaces are isolated: pod ${metadata.name} of namespace ${metadata.namespace} may not ` +
      `use network ${namespace}/${name}, for ${namespace} is no global namespace`,
    `name a network of namespace ${[...new Set([metadata.namespace, alwaysGlobal])].join(' or ')}, or have the ` +
      `administrator add ${namespace} to "globalNamespaces"`,
  );
}
