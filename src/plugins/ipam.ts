import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import { oncePerConfig } from '../cni/once.ts';
import type { NetworkCall, PluginCall, PluginConfig } from '../cni/plugin.ts';
import type { Result, ResultDNS } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { dns } from './ipam-schema.ts';

/* How interface plugins get addresses: they delegate to the plugin that `ipam.type` names (specification 1.1.0, section 4). */

/** Keys of every interface plugin. */
export const interfacePluginKeys = {
  /** Without a type the network is one of layer 2. */
  ipam: z.object({ type: z.string('expected the name of an IPAM plugin').default('') }).default({ type: '' }),
  dns: dns.default({}),
};

const ipamSchema = z.object({ ipam: interfacePluginKeys.ipam });

const ipamType = oncePerConfig((config) => parsePluginConfig(ipamSchema, config).ipam.type);

/**
 * Lets the IPAM plugin reserve addresses.
 *
 * @returns undefined where the network has no IPAM.
 * @throws {CniError} the IPAM plugin's; 999 when it reserved none. Nothing is reserved then.
 */
export async function addIpam(call: PluginCall): Promise<Result | undefined> {
  const config = delegateConfig(call.config);
  return config && reserve(call, config);
}

/**
 * {@link addIpam} for an interface that must have an address.
 *
 * @throws {CniError} and 7 where the network has no IPAM.
 */
export async function addRequiredIpam(call: PluginCall): Promise<Result> {
  return reserve(call, requireIpam(call.config));
}

/** @throws {CniError} 7 where the network has no IPAM. */
export function requireIpam(config: PluginConfig): PluginConfig {
  const delegate = delegateConfig(config);
  if (delegate !== undefined) return delegate;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network "${config.name}": ipam.type: expected the name of an IPAM plugin, found nothing`,
    `an interface of plugin "${config.type}" must have an address: add an ipam such as host-local or static`,
  );
}

async function reserve(call: PluginCall, config: PluginConfig): Promise<Result> {
  const result = await call.plugins.add(config, call.attachment);
  if (result.ips.length > 0) return result;
  await call.plugins.delete(config, call.attachment);
  throw new CniError(
    ErrorCode.Internal,
    'IPAM plugin returned missing IP config',
    `network "${config.name}": plugin "${config.type}" answered ADD without an address`,
  );
}

/** The configuration's DNS settings or, where it says nothing of them, the IPAM plugin's. */
export function dnsOf(configured: ResultDNS, ipam: Result | undefined): ResultDNS {
  const { domain, ...lists } = configured;
  const isEmpty = !domain && Object.values(lists).every((list) => list === undefined);
  return isEmpty && ipam !== undefined ? ipam.dns : configured;
}

/** @throws {CniError} when addresses may still be reserved. */
export async function deleteIpam({ config, attachment, plugins }: PluginCall): Promise<void> {
  const delegate = delegateConfig(config);
  if (delegate !== undefined) await plugins.delete(delegate, attachment);
}

export async function checkIpam({ config, attachment, plugins }: PluginCall): Promise<void> {
  const delegate = delegateConfig(config);
  if (delegate !== undefined) await plugins.check(delegate, attachment);
}

export async function statusIpam({ config, path, plugins }: NetworkCall): Promise<void> {
  const delegate = delegateConfig(config);
  if (delegate !== undefined) await plugins.status(delegate, path);
}

export async function gcIpam({ config, path, plugins }: NetworkCall): Promise<void> {
  const delegate = delegateConfig(config);
  if (delegate !== undefined) await plugins.gc(delegate, path);
}

/**
 * Whether the IPAM plugin may be called before the interface is there. One that is not known may look at it, as dhcp
 * does, or answer a second ADD with the addresses of the first, which would then be released with the second.
 */
export function isIndependentIpam(config: PluginConfig): boolean {
  return ['host-local', 'static'].includes(ipamType(config));
}

/**
 * Removes an interface and lets its addresses go: in this order, so that nobody is given an address that an interface still
 * has. A plugin that needs the interface takes the address from it itself.
 *
 * @throws {CniError} when addresses may still be reserved; and whatever `remove` throws.
 */
export async function removeThenDeleteIpam(call: PluginCall, remove: () => Promise<void>): Promise<void> {
  const isFirst = isReleasedThroughInterface(call.config);
  if (isFirst) await deleteIpam(call);
  await remove();
  if (!isFirst) await deleteIpam(call);
}

/** What cannot be read is told where the IPAM plugin is called. */
function isReleasedThroughInterface(config: PluginConfig): boolean {
  try {
    return ipamType(config) === 'dhcp';
  } catch (error) {
    if (error instanceof CniError) return false;
    throw error;
  }
}

/** The same configuration, addressed to the IPAM plugin. */
const delegateConfig = oncePerConfig((config): PluginConfig | undefined => {
  const type = ipamType(config);
  return type === '' ? undefined : { ...config, type };
});
