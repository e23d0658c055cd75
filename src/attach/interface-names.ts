/**
 * Names the interface of each network in the pod: the name that was asked for, else net1, net2, ... by the network's
 * place in the list, passing over names that are taken.
 *
 * @param requested One for each network, undefined where it is left to us. The first is the default network's.
 * @param taken Names that are the pod's already: `lo`.
 * @throws {Error} when two networks ask for one name, or a network for one that is taken.
 */
export function interfaceNames(requested: readonly (string | undefined)[], taken: readonly string[]): string[] {
  const used = new Set(taken);
  for (const name of requested) {
    if (name === undefined) continue;
    if (used.has(name))
      throw new Error(`interface name ${name} already exists: two of the pod's networks would have it`);
    used.add(name);
  }
  return requested.map((name, place) => {
    if (name !== undefined) return name;
    let number = place;
    while (used.has(`net${number}`)) number++;
    used.add(`net${number}`);
    return `net${number}`;
  });
}
