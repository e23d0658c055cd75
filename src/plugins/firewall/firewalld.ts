import { CniError, ErrorCode } from '../../cni/error.ts';
import { addSource, hasSource, isFirewalldRunning, removeSource } from '../../linux/firewalld.ts';
import { formatPrefix, hostPrefix, type IP } from '../../net/ip.ts';

/* Addresses as sources of a zone of firewalld, which knows what it lets through. */

const sourceOf = (ip: IP): string => formatPrefix(hostPrefix(ip));

/** @throws {CniError} naming the address; no source is left then. */
export async function addFirewalld(addresses: readonly IP[], zone: string): Promise<void> {
  await using undo = new AsyncDisposableStack();
  for (const source of addresses.map(sourceOf)) {
    try {
      await addSource(zone, source);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const message = `failed to add the address ${source} to ${zone} zone: ${reason}`;
      throw new CniError(ErrorCode.Internal, message, '', { cause: error });
    }
    undo.defer(() => removeSource(zone, source));
  }
  undo.move();
}

/** firewalld takes its rules with it when it ends. */
export async function removeFirewalld(addresses: readonly IP[], zone: string): Promise<void> {
  if (addresses.length === 0 || !(await isFirewalldRunning())) return;
  for (const ip of addresses) await removeSource(zone, sourceOf(ip));
}

/** @throws {CniError} where an address is not in the zone. */
export async function checkFirewalld(addresses: readonly IP[], zone: string): Promise<void> {
  for (const source of addresses.map(sourceOf)) {
    const isThere = await hasSource(zone, source).catch(() => false);
    if (!isThere) throw new CniError(ErrorCode.Internal, `failed to find the address ${source} in ${zone} zone`);
  }
}
