import type { Offer } from './offer.ts';

/**
 * Chooses devices that are close to one another: those of one NUMA node where it has enough, of as few as possible
 * otherwise; the node that already gives a device goes first, then the one with the fewest that suffice.
 *
 * @param available Ids to choose from.
 * @param included Ids that must be among them.
 * @param size How many are wanted, those included.
 */
export function preferred(
  offer: Offer,
  available: readonly string[],
  included: readonly string[],
  size: number,
): string[] {
  const chosen = [...new Set(included)].slice(0, size);
  const nodeOf = (id: string): number => offer.get(id)?.device.numaNode ?? -1;
  const rest = [...new Set(available)].filter((id) => !chosen.includes(id)).sort();
  const nodes = Map.groupBy(rest, nodeOf);
  const given = new Set(chosen.map(nodeOf));
  while (chosen.length < size && nodes.size > 0) {
    const wanted = size - chosen.length;
    const [[node, ids] = [-1, []]] = [...nodes].sort(([one, ones], [other, others]) => {
      return (
        Number(given.has(other)) - Number(given.has(one)) ||
        Number(others.length >= wanted) - Number(ones.length >= wanted) ||
        (ones.length >= wanted ? ones.length - others.length : others.length - ones.length) ||
        one - other
      );
    });
    chosen.push(...ids.slice(0, wanted));
    nodes.delete(node);
  }
  return chosen;
}
