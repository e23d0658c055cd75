import { z } from 'zod';
import { formatIP, formatPrefix, type IP, type Prefix, parseIP, parsePrefix } from '../net/ip.ts';

/** An address as IPAM plugins' configurations write it. Text of length zero counts as absent, as in Go's net.IP. */
export const address = textOf(parseIP, 'an IP address');

/** An address with its prefix's length. */
export const prefix = textOf(parsePrefix, 'a prefix such as 10.0.0.0/24');

/** An interface's address, which says what else is on its link. */
export const addressAndPrefix = textOf(parsePrefix, 'an address with its prefix, such as 10.0.0.5/24');

/** An address where a prefix's length may follow and is ignored, as in `runtimeConfig.ips`. */
export const addressOrPrefix = textOf(
  (text) => (text.includes('/') ? parsePrefix(text).ip : parseIP(text)),
  'an IP address such as 10.0.0.5 or 10.0.0.5/24',
);

/** The same, where the key may also be absent or empty. */
export function optional<T>(schema: z.ZodType<T>): z.ZodType<T | undefined> {
  return z.union([z.literal('').transform(() => undefined), schema]).optional();
}

const naturalNumber = z.int('expected a whole number').min(0, 'expected a whole number from 0').max(0xffffffff);

/** A route in `ipam.routes`, handed on in the result (specification 1.1.0, section "ADD Success"). */
export const route = z
  .object({
    dst: prefix,
    gw: optional(address),
    mtu: naturalNumber.optional(),
    advmss: naturalNumber.optional(),
    priority: naturalNumber.optional(),
    table: naturalNumber.optional(),
    scope: naturalNumber.max(255).optional(),
  })
  .transform(({ dst, gw, ...rest }) => ({
    ...rest,
    dst: formatPrefix(dst),
    gw: gw === undefined ? undefined : formatIP(gw),
  }));

export const dns = z.object({
  nameservers: z.array(z.string()).optional(),
  domain: z.string().optional(),
  search: z.array(z.string()).optional(),
  options: z.array(z.string()).optional(),
});

export function textOf<T extends IP | Prefix>(parse: (text: string) => T, expected: string): z.ZodType<T> {
  return z.string(`expected ${expected}`).transform((text, context) => {
    try {
      return parse(text);
    } catch {
      context.addIssue({ code: 'custom', message: `expected ${expected}` });
      return z.NEVER;
    }
  });
}
