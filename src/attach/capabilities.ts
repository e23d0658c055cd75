import { capabilitiesOf } from '../cni/chain.ts';
import type { NetworkConfigList } from '../cni/config.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { JsonObject, JsonValue } from '../cni/json.ts';
import { readsAnnotation } from './ipam-claim.ts';
import type { NetworkSelection } from './selection.ts';

/** A key of the network selection element whose value a plugin is told of by a capability. */
interface Capability {
  readonly key: string;
  readonly name: string;
  /** Which plugins can give it. */
  readonly giver: string;
  readonly valueOf: (selection: NetworkSelection) => JsonValue | undefined;
}

/** Capabilities that have names of their own in the CNI conventions, "Dynamic Plugin specific fields". */
const capabilities: readonly Capability[] = [
  { key: 'ips', name: 'ips', giver: 'the plugin whose ipam is static or host-local', valueOf: ({ ips }) => ips },
  { key: 'mac', name: 'mac', giver: 'the plugin that makes the interface, or to tuning', valueOf: ({ mac }) => mac },
  {
    key: 'portMappings',
    name: 'portMappings',
    giver: 'a plugin portmap at the end of the chain',
    valueOf: ({ portMappings }) => portMappings,
  },
  {
    key: 'bandwidth',
    name: 'bandwidth',
    giver: 'a plugin bandwidth at the end of the chain',
    valueOf: ({ bandwidth }) => bandwidth,
  },
  {
    key: 'infiniband-guid',
    name: 'infinibandGUID',
    giver: 'the plugin ib-sriov',
    valueOf: ({ infinibandGuid }) => infinibandGuid,
  },
  {
    key: 'device-id',
    name: 'deviceID',
    giver: 'the plugin that takes the device, such as host-device or sriov',
    valueOf: ({ deviceId }) => deviceId,
  },
];

/**
 * What a pod asks of one network beyond the attachment itself, as runtimeConfig.
 *
 * @throws {CniError} 7 naming all that is asked and no plugin can give: silence would leave the pod without it.
 */
export function requestedCapabilities(selection: NetworkSelection, list: NetworkConfigList): JsonObject {
  const declared = capabilitiesOf(list);
  const asked = capabilities.flatMap((capability) => {
    const value = capability.valueOf(selection);
    const isEmpty = value === undefined || (Array.isArray(value) && value.length === 0);
    return isEmpty ? [] : [{ ...capability, value }];
  });
  const missing = readsAnnotation(list) ? [] : asked.filter(({ name }) => !declared.has(name));
  if (missing.length > 0) throw refusal(missing, list);
  return Object.fromEntries(asked.filter(({ name }) => declared.has(name)).map(({ name, value }) => [name, value]));
}

function refusal(missing: readonly Capability[], { plugins }: NetworkConfigList): CniError {
  const keys = missing.map(({ key }) => `"${key}"`).join(' and ');
  const names = missing.map(({ name }) => `"${name}"`).join(' and ');
  const types = plugins.map(({ type }) => type).join(', ');
  const remedies = missing.map(
    ({ key, name, giver }) =>
      `add "capabilities": { "${name}": true } to ${giver}, or remove "${key}" from the annotation`,
  );
  return new CniError(
    ErrorCode.InvalidNetworkConfig,
    `the pod asks for ${keys}, but no plugin of the network (${types}) declares the capability ${names}`,
    remedies.join('; '),
  );
}
