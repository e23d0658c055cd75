import { createHash } from 'node:crypto';

/** Whose rules they are. The names of rules are made of these as the containernetworking plugins do. */
export interface Owner {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

/** The first hexadecimal digits of a SHA-512. */
export function digest(text: string, length: number): string {
  return createHash('sha512').update(text).digest('hex').slice(0, length);
}
