import type { VlanRange } from '../../linux/bridge-vlan.ts';

/** The VLAN of what has no tag on a trunk, unless the configuration says another. */
const nativeVlan = 1;

/** Of `vlanTrunk`: one VLAN, or all from one to another, or both. */
export interface TrunkItem {
  readonly id?: number | undefined;
  readonly minID?: number | undefined;
  readonly maxID?: number | undefined;
}

/**
 * The VLANs that a port sends and gets with a tag, in order and without overlaps; undefined where it is no trunk.
 *
 * @param native The VLAN of what has no tag, or 0: it would lose that if it were among those with one.
 */
export function trunkVlans(items: readonly TrunkItem[], native: number): readonly VlanRange[] | undefined {
  const given = items.flatMap(({ id, minID, maxID }) => [
    ...(id === undefined ? [] : [{ first: id, last: id }]),
    ...(minID === undefined || maxID === undefined ? [] : [{ first: minID, last: maxID }]),
  ]);
  if (given.length === 0) return undefined;
  return merge(given).flatMap((range) => without(range, native === 0 ? nativeVlan : native));
}

function merge(ranges: readonly VlanRange[]): readonly VlanRange[] {
  const merged: { first: number; last: number }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else merged.push({ first, last });
  }
  return merged;
}

function without({ first, last }: VlanRange, id: number): readonly VlanRange[] {
  if (id < first || id > last) return [{ first, last }];
  return [
    { first, last: id - 1 },
    { first: id + 1, last },
  ].filter((range) => range.first <= range.last);
}

export interface VlanSettings {
  /** 0 for none. */
  readonly vlan: number;
  /** Of {@link trunkVlans}. */
  readonly trunk: readonly VlanRange[] | undefined;
  readonly preserveDefaultVlan: boolean;
}

/** What a port must be told so that it is in the VLANs of a configuration. */
export interface PortVlanChanges {
  readonly remove: readonly VlanRange[];
  readonly add: readonly VlanRange[];
}

/**
 * @param defaultVlan The one that the bridge has put the port in; 0 for none.
 * @returns undefined where the port is to stay as the bridge made it.
 */
export function portVlanChanges(settings: VlanSettings, defaultVlan: number): PortVlanChanges | undefined {
  const { vlan, trunk, preserveDefaultVlan } = settings;
  if (vlan === 0 && trunk === undefined) return undefined;
  const native = vlan === 0 ? nativeVlan : vlan;
  const isLeft = !preserveDefaultVlan && defaultVlan !== 0 && defaultVlan !== native;
  return {
    remove: isLeft ? [{ first: defaultVlan, last: defaultVlan }] : [],
    add: [{ first: native, last: native, pvid: true, untagged: true }, ...(trunk ?? [])],
  };
}

/** Whether a port is in VLANs as it is to be. The kernel may tell what lies next to each other, and is treated alike, at once. */
export function isAmong(wanted: VlanRange, present: readonly VlanRange[]): boolean {
  return present.some(({ first, last, pvid = false, untagged = false }) => {
    const isAlike = pvid === (wanted.pvid ?? false) && untagged === (wanted.untagged ?? false);
    return isAlike && first <= wanted.first && wanted.last <= last;
  });
}
