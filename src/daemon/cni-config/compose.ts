import { CniError, ErrorCode } from '../../cni/error.ts';
import { isJsonObject } from '../../cni/json.ts';
import { compareVersions } from '../../cni/version.ts';
import type { Master } from './master.ts';

/** What the administrator wants of the configuration that is written. */
export interface Wishes {
  /** The network's name. Absent: `plexus`. */
  readonly name: string | undefined;
  /** The master's name counts more. */
  readonly overrideNetworkName: boolean;
  /** Absent: the master's. */
  readonly cniVersion: string | undefined;
  /** Take that version whatever the master's is. */
  readonly forceCNIVersion: boolean;
  /** Where the shim finds the daemon, as the node sees it. */
  readonly socketDir: string;
  /** Where it leaves requests while there is none. Absent: where it looks by itself. */
  readonly spoolDir: string | undefined;
  /** Seconds that the shim waits: for the whole call, and for the daemon to be there. Absent: its defaults. */
  readonly timeoutSeconds: number | undefined;
  readonly connectSeconds: number | undefined;
}

/** The first version that has CHECK. */
const versionOfCheck = '0.4.0';

/**
 * Writes the CNI configuration by which the runtime calls Plexus in front of the node's default network.
 *
 * It is a list, for the specification has had nothing else since 1.0.0, and GC and STATUS exist for lists only.
 *
 * @throws {CniError} 1 when the runtime would be promised a CHECK that the master does not have.
 */
export function composeConfig({ path, list }: Master, wishes: Wishes): string {
  const { socketDir, spoolDir, timeoutSeconds, connectSeconds } = wishes;
  const capabilities = capabilitiesOf(list.plugins);
  const plugin = {
    type: 'plexus',
    ...(capabilities.length > 0 && { capabilities: Object.fromEntries(capabilities.map((name) => [name, true])) }),
    clusterNetwork: path,
    socketDir,
    ...(spoolDir !== undefined && { spoolDir }),
    ...(timeoutSeconds !== undefined && { timeoutSeconds }),
    ...(connectSeconds !== undefined && { connectSeconds }),
  };
  const name = wishes.overrideNetworkName ? list.name : (wishes.name ?? 'plexus');
  const config = { cniVersion: versionFor(list.cniVersion, path, wishes), name, plugins: [plugin] };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/**
 * The version that the runtime is to ask for.
 *
 * @param masters That of the master.
 * @param path Where that was found, for messages.
 * @throws {CniError} 1 when the runtime would be promised a CHECK that the master does not have.
 */
export function versionFor(
  masters: string,
  path: string,
  { cniVersion, forceCNIVersion }: Pick<Wishes, 'cniVersion' | 'forceCNIVersion'>,
): string {
  if (cniVersion === undefined) return masters;
  const promisesCheck = compareVersions(cniVersion, versionOfCheck) >= 0;
  if (!forceCNIVersion && promisesCheck && compareVersions(masters, versionOfCheck) < 0) {
    throw new CniError(
      ErrorCode.IncompatibleVersion,
      `cniVersion ${cniVersion} has CHECK, and ${path} is written in ${masters}, which does not; leave cniVersion out, ` +
        'give an older one, or set forceCNIVersion to true',
    );
  }
  return cniVersion;
}

/** What any plugin of the chain declares: the runtime passes to Plexus what Plexus is to pass on. */
function capabilitiesOf(plugins: Master['list']['plugins']): string[] {
  const declared = plugins.flatMap(({ capabilities }) =>
    isJsonObject(capabilities) ? Object.keys(capabilities).filter((name) => capabilities[name] === true) : [],
  );
  return [...new Set(declared)].sort();
}
