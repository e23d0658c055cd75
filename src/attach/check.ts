import { checkList } from '../cni/chain.ts';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { Attachment, PluginRunner } from '../cni/plugin.ts';
import { hasCommand } from '../cni/version.ts';
import type { Journal } from '../journal/journal.ts';
import { plannedList } from './plan.ts';

/**
 * Checks that each attachment of a sandbox is as ADD left it, in order, from the journal. A network whose configuration
 * is older than CHECK cannot be asked, and counts as good.
 *
 * @param attachment The runtime's call; `path` is where executed plugins are looked for.
 * @throws {CniError} 3 for a sandbox that was never added; else the first plugin's complaint, naming the network.
 */
export async function checkSandbox(attachment: Attachment, journal: Journal, runner: PluginRunner): Promise<void> {
  const entry = await journal.read(attachment);
  if (!entry?.complete) {
    const state = entry === undefined ? 'was never added here, or was deleted' : 'was never added completely';
    throw new CniError(
      ErrorCode.UnknownContainer,
      `container ${attachment.containerId}, interface ${attachment.ifName}: ${state}`,
    );
  }
  for (const planned of entry.plan.attachments) {
    const { runtimeConfig, cniArgs, network, ifName } = planned;
    const prevResult = entry.results.get(ifName);
    const list = plannedList(planned);
    if (!hasCommand(list.cniVersion, 'CHECK')) continue;
    try {
      await checkList(list, { ...attachment, ifName }, { runtimeConfig, cniArgs, prevResult }, runner);
    } catch (error) {
      const { code, message, details } = toCniError(error);
      throw new CniError(code, `network ${network}, interface ${ifName}: ${message}`, details, { cause: error });
    }
  }
}
