import { CniError, ErrorCode } from '../cni/error.ts';
import type { ResultIP } from '../cni/result.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { readSysctl, writeSysctl } from '../linux/sysctl.ts';
import { parsePrefix } from '../net/ip.ts';

/** ip-sysctl.txt */
const sysctls = { 4: ['ipv4', 'ip_forward'], 6: ['ipv6', 'conf', 'all', 'forwarding'] } as const;

/**
 * Makes the node a router, for the families of these addresses. It stays one: nobody can tell who else relies on it.
 *
 * @throws {CniError} naming the sysctl.
 */
export async function enableForwarding(ips: readonly ResultIP[]): Promise<void> {
  for (const family of new Set(ips.map(({ address }) => parsePrefix(address).ip.family))) {
    const name = sysctls[family];
    try {
      // Read first: where /proc/sys is mounted read-only, the administrator may have seen to it.
      if ((await readSysctl(NetworkNamespace.host(), ...name)) === '1') continue;
      await writeSysctl(NetworkNamespace.host(), 1, ...name);
    } catch (thrown) {
      const problem = thrown instanceof Error ? thrown.message : String(thrown);
      throw new CniError(
        ErrorCode.Internal,
        `Could not enable IP forwarding: ${problem}`,
        `set net.${name.join('.')} to 1 on the node`,
        { cause: thrown },
      );
    }
  }
}
