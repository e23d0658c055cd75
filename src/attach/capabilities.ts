import type { JsonObject, JsonValue } from '../cni/json.ts';
import type { NetworkSelection } from './selection.ts';

/**
 * What a pod asks of one network beyond the attachment itself, as runtimeConfig (CNI conventions, "Dynamic Plugin
 * specific fields").
 *
 * @param declared The capabilities that at least one plugin of the network's chain declares.
 * @param readsAnnotation Whether a plugin of it finds the pod's wishes for itself, and need not declare any.
 * @throws {Error} naming all that is asked and no plugin can give: silence would leave the pod without it.
 */
export function requestedCapabilities(
  selection: NetworkSelection,
  declared: ReadonlySet<string>,
  readsAnnotation: boolean,
): JsonObject {
  const wanted: readonly (readonly [key: string, capability: string, value: JsonValue | undefined])[] = [
    ['ips', 'ips', selection.ips],
    ['mac', 'mac', selection.mac],
    ['portMappings', 'portMappings', selection.portMappings],
    ['bandwidth', 'bandwidth', selection.bandwidth],
    ['infiniband-guid', 'infinibandGUID', selection.infinibandGuid],
    ['deviceID', 'deviceID', selection.deviceId],
  ];
  const runtimeConfig: Record<string, JsonValue> = {};
  const problems: string[] = [];
  for (const [key, capability, value] of wanted) {
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    if (!declared.has(capability)) {
      if (readsAnnotation) continue;
      problems.push(
        `the pod asks for "${key}", but no plugin of the network's configuration declares the capability "${capability}"; ` +
          `add "capabilities": {"${capability}": true} to the plugin that can give it, or remove the request`,
      );
      continue;
    }
    runtimeConfig[capability] = value;
  }
  if (problems.length > 0) throw new Error(problems.join('; '));
  return runtimeConfig;
}
