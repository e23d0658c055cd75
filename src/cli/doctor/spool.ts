import { resolve } from 'node:path';
import type { Root } from '../../cni/exec.ts';
import type { JsonObject } from '../../cni/json.ts';
import { pathOnNode } from '../../daemon/cni-config/socket-dir.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { defaultSpoolDir, spoolDirectory } from '../../daemon/spool/directory.ts';
import { prepareDefaultNetwork } from '../../daemon/spool/prepare.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import { readSpool } from '../spooled.ts';
import { type Finding, fine, lacking, messageOf } from './finding.ts';

/**
 * Whether pods could start while the daemon is down, where the administrator wants that.
 *
 * @param told The configuration that the runtime sends; undefined where there is none.
 */
export async function checkDownChoice(
  { whenDaemonIsDown, overlay }: DaemonConfig,
  told: JsonObject | undefined,
  cluster: Cluster | undefined,
  root: Root | undefined,
): Promise<Finding[]> {
  if (whenDaemonIsDown === 'wait') return [];
  const cniVersion = told?.['cniVersion'];
  try {
    const stated = typeof cniVersion === 'string' ? cniVersion : undefined;
    const request = { config: { ...told, ...overlay }, cniVersion: stated, cluster, root };
    const { network } = await prepareDefaultNetwork(request);
    return [fine('without daemon', `pods start with the default network only, ${network.source}`)];
  } catch (error) {
    const remedy = 'correct it, or set whenDaemonIsDown to "wait": pods wait in any case';
    return [lacking('without daemon', `"default-network-only" cannot be honoured: ${messageOf(error)}`, remedy)];
  }
}

/**
 * Whether anything waits for the daemon, and whether the shim leaves it where the daemon looks.
 *
 * @param told The configuration that the runtime sends; undefined where there is none.
 */
export async function checkSpool(config: DaemonConfig, told: JsonObject | undefined): Promise<Finding[]> {
  const findings: Finding[] = [];
  const own = config.spoolDir ?? (await pathOnNode(spoolDirectory(config), config.chrootDir).catch(() => undefined));
  const tells = told?.['spoolDir'] || defaultSpoolDir;
  if (
    told !== undefined &&
    own !== undefined &&
    tells !== own &&
    !(typeof tells === 'string' && resolve(tells) === own)
  ) {
    findings.push(
      lacking(
        'spool',
        `the runtime's configuration has the shim leave requests in ${tells}, and the daemon looks in ${own}`,
        `write "spoolDir": "${own}" there`,
      ),
    );
  }
  const { path, waiting, setAside } = await readSpool(config);
  const [oldest] = waiting;
  if (oldest !== undefined) {
    const since = oldest.since === undefined ? '' : `, the oldest since ${oldest.since.toISOString()}`;
    const remedy = 'start the daemon; where it runs, its log says why they fail; `plexus status` lists them';
    findings.push(lacking('spool', `${waiting.length} requests wait in ${path}${since}`, remedy));
  }
  if (setAside.length > 0) {
    const remedy =
      'release what they stand for, by hand or by GC, then remove them; the log says what is wrong with them';
    findings.push(lacking('spool', `${setAside.length} requests make no sense: ${setAside.join(', ')}`, remedy));
  }
  return findings.length > 0 ? findings : [fine('spool', `nothing waits in ${path}`)];
}
