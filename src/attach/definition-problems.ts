import { configFor } from '../cni/chain.ts';
import { CniError } from '../cni/error.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../cni/json.ts';
import type { NetworkAttachmentDefinition } from '../kubernetes/schemas.ts';
import { resourceOf } from './devices.ts';
import { ipamType, networkProblems, someDevice } from './network-problems.ts';
import { readNetwork } from './read-network.ts';

/** Which plugins the nodes of the cluster have. */
export interface KnownPlugins {
  /** Types that run in process. */
  readonly builtin: ReadonlySet<string>;
  /** Types that are executed; undefined where it is not known which. */
  readonly executed: ReadonlySet<string> | undefined;
}

/**
 * Why no pod could ever be attached to the network of a definition. What a pod may bring along, such as a device or, where
 * the network declares the capability, addresses, counts as brought along; what is on the nodes, such as a master, is not
 * known here.
 *
 * @returns Sentences; none for a definition that may work.
 */
export function definitionProblems(definition: NetworkAttachmentDefinition, known: KnownPlugins): string[] {
  try {
    const { namespace, name } = definition.metadata;
    const resource = resourceOf(definition);
    const { config } = definition.spec;
    // The configuration is then a file of the nodes (specification v1.3, section 3.4.1).
    if (config.trim() === '') return [];
    const source = `NetworkAttachmentDefinition ${namespace}/${name}, spec.config`;
    const list = readNetwork({ config, source, name });
    const deviceId = resource === undefined ? undefined : someDevice;
    const configs = list.plugins.map((plugin) => {
      return configFor(list, plugin, { runtimeConfig: broughtAlong(plugin['ipam']), deviceId });
    });
    const types = new Set(configs.flatMap(({ type, ipam }) => [type, ipamType(ipam) ?? type]));
    return [...[...types].flatMap((type) => unknownPlugin(type, known)), ...networkProblems(configs, known.builtin)];
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return [error.message];
  }
}

/** By capability, what the runtime or a pod may give, and a configuration may leave out for that. */
function broughtAlong(ipam: JsonValue | undefined): JsonObject {
  const keys = isJsonObject(ipam) ? Object.keys(ipam).map((key) => key.toLowerCase()) : [];
  const hasRanges = keys.includes('subnet') || keys.includes('ranges');
  return { deviceID: someDevice, ...(!hasRanges && { ipRanges: [[{ subnet: '192.0.2.0/24' }]] }) };
}

function unknownPlugin(type: string, { builtin, executed }: KnownPlugins): string[] {
  if (builtin.has(type) || executed === undefined || executed.has(type)) return [];
  const others = [...executed].join(', ');
  return [
    `${type} is not built in, and is none of the plugins that nodes execute (${others === '' ? 'there are none' : others})`,
  ];
}
