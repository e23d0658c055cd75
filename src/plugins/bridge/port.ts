import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { bridgePorts } from '../../linux/bridge-port.ts';
import { bridgeVlans } from '../../linux/bridge-vlan.ts';
import { isKernelError } from '../../linux/errors.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Request, Rtnetlink } from '../../linux/rtnetlink.ts';
import type { NodeBridge } from './node-bridge.ts';
import { portVlanChanges, type VlanSettings } from './vlans.ts';

/** Milliseconds between looks at a port that is not up yet, at first and at most, and until it must be. */
const firstInterval = 1;
const longestInterval = 100;
const upTimeout = 2_500;

export interface PortSettings extends VlanSettings {
  readonly hairpinMode: boolean;
  readonly portIsolation: boolean;
}

/**
 * What makes an interface a port of a bridge, in the VLANs that it is to be in.
 *
 * @throws {CniError} where the bridge does not tell VLANs apart.
 */
export function portRequests(bridge: NodeBridge, index: number, settings: PortSettings): readonly Request<void>[] {
  const { hairpinMode, portIsolation } = settings;
  const changes = portVlanChanges(settings, bridge.data.defaultVlan ?? 0);
  if (changes !== undefined) requireVlanFilter(bridge);
  return [
    links.change(index, { master: bridge.index }),
    bridgePorts.change(index, { hairpin: hairpinMode, ...(portIsolation && { isolated: true }) }),
    ...(changes === undefined || changes.remove.length === 0 ? [] : [bridgeVlans.delete(index, changes.remove)]),
    ...(changes === undefined ? [] : [bridgeVlans.add(index, changes.add)]),
  ];
}

/**
 * Makes an interface a port of a bridge.
 *
 * @throws {CniError} as {@link portRequests}, and of {@link notConnected}.
 */
export async function joinBridge(
  node: Rtnetlink,
  bridge: NodeBridge,
  { index }: Pick<Link, 'index'>,
  settings: PortSettings,
): Promise<void> {
  const requests = portRequests(bridge, index, settings);
  await node.run(...requests).catch((error: unknown) => notConnected(bridge, error));
}

/** @throws {CniError} saying what the kernel did not take; any other error as it is. */
export function notConnected({ name }: Pick<Link, 'name'>, error: unknown): never {
  if (!isKernelError(error)) throw error;
  const message = `failed to connect a port to bridge ${name}: ${error.message}`;
  throw new CniError(ErrorCode.Internal, message, '', { cause: error });
}

/** A container must not be in another network than the one that it was given. */
function requireVlanFilter({ name, data }: NodeBridge): void {
  if (data.vlanFiltering === true) return;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `bridge "${name}" does not tell VLANs apart: it was made without a VLAN filter`,
    `ip link set ${name} type bridge vlan_filtering 1`,
  );
}

/**
 * Waits until a port forwards, which takes the kernel a moment once the other end is up.
 *
 * @returns Its bridge, as it is then.
 * @throws {CniError} when it does not.
 */
export async function waitForPort(
  node: Rtnetlink,
  { index, name }: Pick<Link, 'index' | 'name'>,
  bridge: Pick<Link, 'index'>,
): Promise<Link> {
  const deadline = performance.now() + upTimeout;
  for (let interval = firstInterval; ; interval = Math.min(2 * interval, longestInterval)) {
    const [{ operState }, found] = await node.run(links.get({ index }), links.get({ index: bridge.index }));
    if (operState === 'up') return found;
    if (performance.now() >= deadline) {
      throw new CniError(ErrorCode.Internal, `bridge port in error state: ${operState}`, `the port is ${name}`);
    }
    await sleep(interval);
  }
}
