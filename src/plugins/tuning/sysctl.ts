import { readFile } from 'node:fs/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';

/** Where every tuning plugin looks for its allow-list. */
export const allowlistFile = '/etc/cni/tuning/allowlist.conf';

/**
 * The parts of a sysctl's name below `net`. Dots and slashes both part them; the first IFNAME stands for the interface,
 * whose own dots part nothing.
 *
 * @throws {CniError} 7 for one that is not the network's.
 */
export function pathOf(key: string, ifName: string): readonly string[] {
  const [root, ...path] = key.split(/[./]+/).filter((part) => part !== '');
  if (root !== 'net' || path.length === 0) {
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `invalid net sysctl key: ${JSON.stringify(key)}`,
      'expected one of the network, such as net.core.somaxconn',
    );
  }
  const at = path.findIndex((part) => part.includes('IFNAME'));
  return path.map((part, index) => (index === at ? part.replace('IFNAME', () => ifName) : part));
}

/**
 * Whether the administrator allows sysctls of these names.
 *
 * @throws {CniError} 7 naming the one that no line of the file matches; 5 for a file that cannot be read, or a line that is
 *   no regular expression.
 */
export async function requireAllowed(keys: readonly string[], file: string): Promise<void> {
  const allowed = await readAllowlist(file);
  if (allowed === undefined) return;
  const refused = keys.find((key) => !allowed.some((pattern) => pattern.test(key)));
  if (refused === undefined) return;
  const lines = allowed.map(({ source }) => source).join(' ');
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `Sysctl ${refused} is not allowed. Only the following sysctls are allowed: [${lines}]`,
    `${file} lists them`,
  );
}

/** @returns undefined where there is no such file. */
async function readAllowlist(file: string): Promise<readonly RegExp[] | undefined> {
  try {
    const lines = (await readFile(file, 'utf8')).split('\n').map((line) => line.trim());
    return lines.filter((line) => line !== '').map((line) => new RegExp(line));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    const reason = error instanceof Error ? error.message : String(error);
    throw new CniError(ErrorCode.IoFailure, `the list of allowed sysctls, ${file}: ${reason}`);
  }
}
