import { randomBytes } from 'node:crypto';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { isKernelError } from '../../linux/errors.ts';
import { isUnknownKind, type Link, links } from '../../linux/link.ts';
import type { LinkKind } from '../../linux/link-kind.ts';
import { NetworkNamespace } from '../../linux/namespace.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { writeSysctlIfAny } from '../../linux/sysctl.ts';
import { creationFailure } from '../create-link.ts';
import type { Share } from './share.ts';

/** A bridge of the node, which is there and up. */
export interface NodeBridge extends Link {
  readonly data: Extract<LinkKind, { type: 'bridge' }>;
}

export interface BridgeSettings {
  readonly bridge: string;
  readonly mtu: number;
  readonly promiscMode: boolean;
  /** A bridge that has to be made tells VLANs apart. */
  readonly filtersVlans: boolean;
}

/**
 * Finds the bridge of a network, or makes it. One that is there is taken as it is, but for being up, and promiscuous where
 * that is asked for. To be called in turn.
 *
 * @param share The calls that use this bridge: the last of them takes it back where none has kept it.
 * @throws {CniError} when the name is another interface's, or the kernel refuses.
 */
export async function ensureBridge(node: Rtnetlink, share: Share, settings: BridgeSettings): Promise<NodeBridge> {
  const bridge = (await findBridge(node, settings.bridge)) ?? (await createBridge(node, share, settings));
  const { index, flags } = bridge;
  const isPromiscuous = flags.promisc || !settings.promiscMode;
  if (flags.up && isPromiscuous) return bridge;
  await node.run(links.change(index, { up: true, ...(!isPromiscuous && { promiscuous: true }) }));
  // It stays up, whatever comes: going down would cost it its IPv6 addresses.
  if (!isPromiscuous) share.defer((again) => settleGone(again, links.change(index, { promiscuous: false })));
  return bridge;
}

/** @throws {CniError} when the name is another interface's. */
export async function findBridge(node: Rtnetlink, name: string): Promise<NodeBridge | undefined> {
  const [found] = await node.settle(links.get({ name }));
  if (found?.ok !== true) {
    if (found?.error.code === 'ENODEV') return undefined;
    throw found?.error ?? new Error(`no answer about interface ${name}`);
  }
  const { data } = found.value;
  if (data?.type === 'bridge') return { ...found.value, data };
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `"${name}" already exists but is not a bridge`,
    `it is ${found.value.kind === undefined ? 'no virtual interface' : `of kind ${found.value.kind}`}: name another bridge`,
  );
}

/** It has an address of its own from the start: the kernel would give it that of a port, another whenever ports change. */
async function createBridge(node: Rtnetlink, share: Share, settings: BridgeSettings): Promise<NodeBridge> {
  const { bridge: name, mtu, filtersVlans } = settings;
  const kind = { type: 'bridge', ...(filtersVlans && { vlanFiltering: true }) } as const;
  try {
    await node.run(links.create({ name, kind, mtu: mtu || undefined, mac: randomMac() }));
    share.defer((again) => removeBridge(again, name));
    // The node knows its own ways, and takes none from what is on the bridge.
    await writeSysctlIfAny(NetworkNamespace.host(), 0, 'ipv6', 'conf', name, 'accept_ra');
  } catch (error) {
    // Somebody else, such as an executed plugin, made it meanwhile: as good.
    if (!isKernelError(error, 'EEXIST')) throw failureOf(settings, error);
  }
  const made = await findBridge(node, name);
  if (made === undefined)
    throw new CniError(ErrorCode.Internal, `bridge "${name}" was removed while it was being made`);
  return made;
}

function failureOf({ bridge: name, filtersVlans }: BridgeSettings, error: unknown): unknown {
  if (filtersVlans && isKernelError(error, 'EOPNOTSUPP') && (error.extack === undefined || !isUnknownKind(error))) {
    return new CniError(
      ErrorCode.Internal,
      `failed to create bridge "${name}": ${error.message}`,
      "the node's kernel has no bridges that tell VLANs apart (CONFIG_BRIDGE_VLAN_FILTERING)",
      { cause: error },
    );
  }
  return creationFailure({ kind: { type: 'bridge' }, name }, error);
}

/** Removes a bridge that nobody uses. */
async function removeBridge(node: Rtnetlink, name: string): Promise<void> {
  const bridge = await findBridge(node, name);
  const [all] = await node.run(links.list());
  if (bridge === undefined || all.some(({ master }) => master === bridge.index)) return;
  await settleGone(node, links.delete({ index: bridge.index }));
}

/** Undoes something; that it is gone is no failure. */
async function settleGone(node: Rtnetlink, request: ReturnType<typeof links.delete>): Promise<void> {
  const [outcome] = await node.settle(request);
  if (outcome?.ok === false && outcome.error.code !== 'ENODEV') throw outcome.error;
}

/** Of one host only, and no group's: the last two bits of the first byte. */
function randomMac(): string {
  const bytes = randomBytes(6);
  bytes.writeUInt8((bytes.readUInt8(0) & 0xfc) | 0x02, 0);
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
