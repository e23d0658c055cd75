import type { Resource } from './config.ts';
import type { Selector } from './config-schema.ts';
import type { Device } from './discover.ts';
import type { Candidate } from './select.ts';

/** A device as kubelet is told of it. */
export interface Offered {
  readonly device: Device;
  /** The one that took it. */
  readonly selector: Selector;
  /** Why it cannot be used now; undefined while it can. */
  readonly fault?: string;
  /** When it was missed first; ms since the epoch. */
  readonly goneSince?: number;
}

/** What kubelet is told of a resource, by the ids of devices. */
export type Offer = ReadonlyMap<string, Offered>;

/** Milliseconds after which nobody waits any more for a device that is gone. */
export const forgetAfter = 5 * 60_000;

/**
 * What is offered of a resource.
 *
 * A device that was offered and can no longer be used, or is gone, stays in it with what is wrong: kubelet gives it to
 * nobody then, and still knows it for the pod that has it. One that another resource takes, or the node itself uses, is no
 * longer offered.
 *
 * @param previous What was offered until now.
 * @param now Milliseconds since the epoch.
 */
export function nextOffer(resource: Resource, candidates: readonly Candidate[], previous: Offer, now: number): Offer {
  const offer = new Map<string, Offered>();
  const there = new Map<string, Candidate>();
  for (const candidate of candidates) {
    const { device, taken } = candidate;
    there.set(device.id, candidate);
    if (taken?.resource.fullName === resource.fullName) offer.set(device.id, { device, selector: taken.selector });
  }
  for (const [id, was] of previous) {
    if (offer.has(id)) continue;
    const candidate = there.get(id);
    if (candidate === undefined) {
      const goneSince = was.goneSince ?? now;
      if (now - goneSince < forgetAfter) offer.set(id, { ...was, fault: 'it is gone', goneSince });
    } else if (candidate.taken === undefined && candidate.isReserved !== true) {
      const { device, why = 'nothing selects it' } = candidate;
      offer.set(id, { device, selector: was.selector, fault: why });
    }
  }
  return new Map([...offer].sort(([one], [other]) => (one < other ? -1 : 1)));
}
