import { formatPrefix, type Prefix } from '../net/ip.ts';

/* Address families of <sys/socket.h>, as they stand in the headers of rtnetlink messages. */

export const AF_UNSPEC = 0;
const AF_INET = 2;
/** What requests about a bridge's ports have in the place of a family. */
export const AF_BRIDGE = 7;
const AF_INET6 = 10;

export const familyCode = (family: 4 | 6): number => (family === 4 ? AF_INET : AF_INET6);

/** @returns undefined for families that are not the Internet's, such as bridges' forwarding entries. */
export function familyOf(code: number): 4 | 6 | undefined {
  if (code === AF_INET) return 4;
  return code === AF_INET6 ? 6 : undefined;
}

/** `10.0.0.0/24`, or `default` for no prefix at all, as ip(8) has it. */
export function formatDestination(prefix: Prefix | undefined): string {
  return prefix === undefined ? 'default' : formatPrefix(prefix);
}
