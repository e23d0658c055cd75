import { CniError, ErrorCode } from '../cni/error.ts';
import type { Result } from '../cni/result.ts';
import type { PlannedAttachment } from '../journal/entry.ts';
import { formatIP, parseIP } from '../net/ip.ts';

/**
 * Holds a network to the addresses that the pod asked it for: a plugin may declare a capability and pay no heed to it
 * (specification v1.3, "ips" and "mac": the attachment must fail then).
 *
 * What the runtime asks of the default network is between the two of them.
 *
 * @throws {CniError} 7 naming what was asked and what was given.
 */
export function requireGranted({ isDefault, ifName, runtimeConfig }: PlannedAttachment, result: Result): void {
  if (isDefault) return;
  const { ips, mac } = runtimeConfig;
  const given = result.ips.map(({ address }) => withoutLength(address));
  const missing = textsIn(ips).filter((ip) => !given.includes(withoutLength(ip)));
  if (missing.length > 0) throw refusal('ips', missing.join(', '), given.join(', ') || 'none');
  const own = result.interfaces.find(({ name, sandbox }) => name === ifName && sandbox)?.mac;
  if (typeof mac === 'string' && own !== undefined && own.toLowerCase() !== mac) throw refusal('mac', mac, own);
}

function refusal(key: string, asked: string, given: string): CniError {
  return new CniError(
    ErrorCode.InvalidNetworkConfig,
    `the pod asks for "${key}" ${asked}, but the network gave ${given}`,
    `a plugin of the network declares the capability "${key}" and does not heed it: remove "${key}" from the annotation, or ` +
      'have the network do as it says',
  );
}

/** In one form: a result's address may be written another way than the pod's. */
function withoutLength(address: string): string {
  const [text = ''] = address.split('/');
  try {
    return formatIP(parseIP(text));
  } catch {
    return text;
  }
}

const textsIn = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
