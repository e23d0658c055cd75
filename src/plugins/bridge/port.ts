import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { bridgePorts } from '../../linux/bridge-port.ts';
import { bridgeVlans } from '../../linux/bridge-vlan.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
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
 * Makes an interface a port of a bridge, in the VLANs that it is to be in.
 *
 * @throws {CniError} where the bridge does not tell VLANs apart, or naming what the kernel did not take.
 */
export async function joinBridge(
  node: Rtnetlink,
  bridge: NodeBridge,
  { index, name }: Pick<Link, 'index' | 'name'>,
  settings: PortSettings,
): Promise<void> {
  const { hairpinMode, portIsolation } = settings;
  const changes = portVlanChanges(settings, bridge.data.defaultVlan ?? 0);
  if (changes !== undefined) requireVlanFilter(bridge);
  const outcomes = await node.settle(
    links.change(index, { master: bridge.index }),
    bridgePorts.change(index, { hairpin: hairpinMode, ...(portIsolation && { isolated: true }) }),
    ...(changes === undefined || changes.remove.length === 0 ? [] : [bridgeVlans.delete(index, changes.remove)]),
    ...(changes === undefined ? [] : [bridgeVlans.add(index, changes.add)]),
  );
  const failed = outcomes.find((outcome) => !outcome.ok);
  if (failed?.ok !== false) return;
  const message = `failed to connect "${name}" to bridge ${bridge.name}: ${failed.error.message}`;
  throw new CniError(ErrorCode.Internal, message, '', { cause: failed.error });
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
