import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError, reservedBy } from './files.ts';
import { type Reservation, Reservations } from './reservations.ts';

/**
 * The addresses of a directory as its files are at this moment: without the lock, so that nobody waits, and without
 * removing what was never written. What is being given away or released meanwhile may be among them or not.
 *
 * @returns None where there is no such directory.
 * @throws {Error} when the directory cannot be read.
 */
export async function lookAtReservations(directory: string): Promise<Reservations> {
  const reservations = new Reservations();
  for (const name of await namesIn(directory)) {
    const reservation = await lookAt(directory, name);
    if (reservation !== undefined) reservations.add(reservation);
  }
  return reservations;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

async function lookAt(directory: string, name: string): Promise<Reservation | undefined> {
  const ip = reservedBy(name);
  if (ip === undefined) return undefined;
  try {
    return { ip, owner: (await readFile(join(directory, name), 'utf8')).trim() };
  } catch (error) {
    // What cannot be read still keeps its address from being given away; what is gone does not.
    return isSystemError(error, 'ENOENT') ? undefined : { ip, owner: '' };
  }
}
