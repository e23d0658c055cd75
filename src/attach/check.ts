import { checkList } from '../cni/chain.ts';
import { decodeResult, encodeResult } from '../cni/convert.ts';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { JsonObject } from '../cni/json.ts';
import type { Attachment, PluginRunner } from '../cni/plugin.ts';
import { hasCommand } from '../cni/version.ts';
import type { Entry } from '../journal/entry.ts';
import type { Journal } from '../journal/journal.ts';
import { withDefaultRoutes } from './default-route.ts';
import { plannedList } from './plan.ts';

/**
 * Checks that each attachment of a sandbox is as ADD left it, in order, from the journal. A network whose configuration
 * is older than CHECK cannot be asked, and counts as good; so does one that could not be attached or detached while the pod
 * runs, which is not the runtime's business.
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
  const results = expectedResults(entry);
  for (const planned of entry.plan.attachments) {
    const { runtimeConfig, cniArgs, deviceId, network, ifName } = planned;
    const prevResult = results.get(ifName);
    if (prevResult === undefined || entry.detaching.has(ifName)) continue;
    const list = plannedList(planned);
    if (!hasCommand(list.cniVersion, 'CHECK')) continue;
    try {
      await checkList(list, { ...attachment, ifName }, { runtimeConfig, cniArgs, deviceId, prevResult }, runner);
    } catch (error) {
      const { code, message, details } = toCniError(error);
      throw new CniError(code, `network ${network}, interface ${ifName}: ${message}`, details, { cause: error });
    }
  }
}

/**
 * What each plugin answered, to the byte, unless the pod's default route was given to another network since: a plugin
 * that looks for a route which was taken away on purpose would not find it.
 */
function expectedResults({ plan, results }: Entry): ReadonlyMap<string, JsonObject> {
  if (plan.attachments.every(({ defaultRoute }) => defaultRoute === undefined)) return results;
  const attached = plan.attachments.flatMap((planned) => {
    const raw = results.get(planned.ifName);
    if (raw === undefined) return [];
    const { cniVersion } = plannedList(planned);
    return [{ ...planned, raw, cniVersion, result: decodeResult(raw, cniVersion, `result of ${planned.network}`) }];
  });
  const changed = withDefaultRoutes(attached).flatMap((each, index) =>
    each === attached[index] ? [] : [[each.ifName, encodeResult(each.result, each.cniVersion)] as const],
  );
  return new Map([...results, ...changed]);
}
