import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { uninstalledFile } from '../../daemon/cni-config/uninstalled.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { writeAtomically } from '../../linux/atomic-file.ts';
import { podOf } from '../../observe/pod-of.ts';
import { openReleaser } from '../gc/release.ts';
import { isGone } from '../gc/stale.ts';
import { journalDirectory, readSandboxes, type Sandboxes } from '../sandboxes.ts';
import { readSpool } from '../spooled.ts';
import { callsMultus, callsPlexus, configurations, isGenerated } from './configuration.ts';
import { ownLinks, removeLink, removeSynced } from './plugins.ts';
import { shimName, statIfThere } from './shim.ts';
import type { Steps } from './steps.ts';

export interface GiveBackOptions {
  readonly config: DaemonConfig;
  readonly binDir: string;
}

/**
 * Takes Plexus off the node. Where it is cut short, pods start in any case: with Plexus as long as its configuration is
 * there, with the default network from then on; and what pods hold is in the journal, for the next time.
 *
 * @returns Whether nothing is left to do.
 * @throws {Error} saying what keeps the runtime from its default network.
 */
export async function giveBack({ config, binDir }: GiveBackOptions, steps: Steps): Promise<boolean> {
  await removeConfiguration(config, steps);
  const held = await releaseGone(config, steps);
  const directory = await realpath(binDir);
  const needed = await pluginsOfDefaultNetwork(config);
  const links = await ownLinks(directory);
  const inUse = links.filter((name) => needed.has(name));
  for (const name of inUse) {
    steps.note(join(directory, name), 'stays: the default network needs this plugin; install another of that name');
  }
  if (held > 0 || inUse.length > 0) {
    steps.note(join(directory, shimName), 'stays for them; repeat plexus uninstall then');
    return false;
  }
  for (const name of links) await removeLink(directory, name, steps);
  const path = join(directory, shimName);
  if (await statIfThere(path)) await steps.take(path, 'removed', () => removeSynced(path, directory));
  return true;
}

/** First the daemon is told not to write it again. */
async function removeConfiguration({ stateDir, cniConfigDir }: DaemonConfig, steps: Steps): Promise<void> {
  const marker = uninstalledFile(stateDir);
  if (!(await statIfThere(marker))) {
    await steps.take(marker, 'written, so that a daemon does not write the configuration again', async () => {
      await mkdir(stateDir, { recursive: true, mode: 0o700 });
      await writeAtomically(marker, 'by plexus uninstall\n');
    });
  }
  const found = await configurations(cniConfigDir);
  for (const each of found.filter(isGenerated)) {
    await steps.take(each.path, 'removed', () => removeSynced(each.path, cniConfigDir));
  }
  const [first, ...rest] = found.filter((each) => !isGenerated(each));
  for (const each of [first, ...rest]) {
    if (each === undefined || !callsPlexus(each)) continue;
    throw new Error(
      `${each.path} calls Plexus and was written by somebody else: remove it, and repeat plexus uninstall`,
    );
  }
  if (first === undefined) steps.note(cniConfigDir, 'has no other configuration: no pod can start until there is one');
  else steps.note(first.path, 'is what the runtime reads then');
}

/** @returns How many sandboxes, and requests that wait, still need the shim or the daemon. */
async function releaseGone(config: DaemonConfig, steps: Steps): Promise<number> {
  if (!(await statIfThere(journalDirectory(config)))) return 0;
  const { entries, unreadable }: Sandboxes = await readSandboxes(config);
  let held = unreadable.length;
  for (const { path, message } of unreadable) steps.note(path, message);
  for (const entry of entries) {
    const name = `${podOf(entry) ?? entry.plan.containerId} ${entry.plan.ifName}`;
    if (!(await isGone(entry))) {
      const networks = entry.plan.attachments.map(({ network }) => network).join(', ');
      steps.note(name, `runs, attached to ${networks}; delete the pod, or drain the node`);
      held++;
      continue;
    }
    try {
      await steps.take(name, 'released, as its namespace is gone', async () => {
        await using releaser = await openReleaser(config);
        await releaser.release(entry);
      });
    } catch (error) {
      steps.note(name, `still held: ${error instanceof Error ? error.message : String(error)}`);
      held++;
    }
  }
  const { waiting, path } = await readSpool(config);
  if (waiting.length > 0) steps.note(path, `${waiting.length} requests wait for a daemon: start it once more`);
  return held + waiting.length;
}

/** The types of plugins that the runtime, left to itself, executes from now on. */
async function pluginsOfDefaultNetwork({ cniConfigDir }: DaemonConfig): Promise<ReadonlySet<string>> {
  const found = await configurations(cniConfigDir);
  const [first] = found.filter((each) => !isGenerated(each) && !callsMultus(each));
  const types = (first?.plugins ?? []).flatMap(({ type, ipam }) => [
    type,
    typeof ipam === 'object' && ipam !== null && 'type' in ipam ? ipam['type'] : undefined,
  ]);
  return new Set(types.filter((type) => typeof type === 'string'));
}
