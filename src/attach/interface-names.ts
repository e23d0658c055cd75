import { CniError, ErrorCode } from '../cni/error.ts';

/**
 * Names the interface of each network in the pod: the name that was asked for, else net1, net2, ... by the network's
 * place in the list, passing over names that are taken.
 *
 * @param requested One for each network, undefined where it is left to us. The first is the default network's.
 * @param taken Names that are the pod's already: `lo`.
 * @throws {CniError} 7 when two networks ask for one name, or a network for one that is taken.
 */
export function interfaceNames(requested: readonly (string | undefined)[], taken: readonly string[]): string[] {
  const used = new Set(taken);
  for (const name of requested) {
    if (name === undefined) continue;
    if (used.has(name)) throw nameTaken(name);
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

const nameTaken = (name: string): CniError =>
  new CniError(
    ErrorCode.InvalidNetworkConfig,
    `interface name ${name} already exists: two of the pod's networks would have it`,
    `give the network that asks for ${name} another "interface" in the annotation, or none`,
  );
