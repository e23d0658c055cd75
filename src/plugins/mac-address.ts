import { z } from 'zod';
import type { CniArgs } from '../cni/args.ts';
import { CniError, ErrorCode } from '../cni/error.ts';

const expected = 'expected a MAC address such as 02:00:5e:10:00:01';

/** A hardware address in a configuration; empty counts as absent. In lower case with colons, as the kernel's are shown. */
export const macAddress = z
  .string(expected)
  .regex(/^(([0-9a-f]{2}[:-]){5}[0-9a-f]{2})?$/i, expected)
  .transform((text) => text.toLowerCase().replaceAll('-', ':') || undefined);

/**
 * The address that `MAC` of CNI_ARGS asks for.
 *
 * @throws {CniError} 4 when it is none.
 */
export function macArgument(args: CniArgs): string | undefined {
  const text = args.get('MAC');
  if (text === undefined) return undefined;
  const parsed = macAddress.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new CniError(ErrorCode.InvalidEnvironment, `CNI_ARGS: MAC: ${expected}, found "${text}"`);
}
