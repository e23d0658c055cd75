import { access, mkdir, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { plannedList } from '../../attach/plan.ts';
import { formatArgs } from '../../cni/args.ts';
import { isJsonArray, isJsonObject } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { lockFile } from '../../daemon/lock.ts';
import type { Plan, PlannedAttachment, Step } from '../../journal/entry.ts';
import { Journal } from '../../journal/journal.ts';
import { syncDirectory } from '../../linux/atomic-file.ts';
import { journalDirectory } from '../sandboxes.ts';
import { callsMultus, configurations, writeConfiguration } from './configuration.ts';
import { type CachedResult, cachedContainers, cachedResults, type Delegate, readCached } from './multus-cache.ts';
import { keptEnding, replaceProgram } from './plugins.ts';
import { statIfThere } from './shim.ts';
import type { Steps } from './steps.ts';

export interface TakeOverOptions {
  readonly config: DaemonConfig;
  readonly binDir: string;
  /** Multus' cniDir. */
  readonly multusDir: string;
}

/**
 * Takes Multus' place on a node whose pods run: first its pods go into the journal, then the runtime is told, and then the
 * pods that Multus attached meanwhile. Cut short anywhere, Multus goes on as before, or Plexus does for all of them.
 *
 * @returns Whether all pods were taken over.
 * @throws {InUseError} while a daemon runs: its journal is its own.
 */
export async function takeOver({ config, binDir, multusDir }: TakeOverOptions, steps: Steps): Promise<boolean> {
  if (!steps.isDry) await mkdir(config.stateDir, { recursive: true, mode: 0o700 });
  await using _ = steps.isDry
    ? undefined
    : await lockFile(join(config.stateDir, 'daemon.lock'), `stateDir: ${config.stateDir}`);
  const found = (await configurations(config.cniConfigDir)).filter(callsMultus);
  const defaults = await defaultNetworks(config.cniConfigDir, config);
  const adopt = () => adoptAll({ config, multusDir, defaults }, steps);
  await adopt();
  if (!(await writeConfiguration(config, steps))) return false;
  for (const name of ['multus-shim', 'multus']) {
    const path = join(binDir, name);
    if (await statIfThere(path)) await replaceProgram(path, steps);
  }
  for (const { path } of found) {
    await steps.take(path, `set aside as ${path}${keptEnding}: rename it back to return to Multus`, async () => {
      await rename(path, path + keptEnding);
      await syncDirectory(dirname(path));
    });
  }
  return steps.isDry || adopt();
}

interface AdoptOptions {
  readonly config: DaemonConfig;
  readonly multusDir: string;
  /** Names of the networks that Multus gave to pods without their asking, after the first. */
  readonly defaults: readonly string[];
}

async function adoptAll({ config, multusDir, defaults }: AdoptOptions, steps: Steps): Promise<boolean> {
  const directory = journalDirectory(config);
  const journal = steps.isDry ? Journal.look(directory) : await Journal.open(directory);
  let isWhole = true;
  for (const containerId of await cachedContainers(multusDir)) {
    const path = join(multusDir, containerId);
    try {
      const { plan, done } = await entryOf(multusDir, containerId, defaults);
      if (await journal.read(plan)) continue;
      const networks = plan.attachments.map(({ network, ifName }) => `${ifName} ${network}`).join(', ');
      await steps.take(path, `taken over: ${networks}`, async () => {
        await using _ = await journal.begin(plan, done);
      });
    } catch (error) {
      isWhole = false;
      steps.note(path, `LEFT ALONE: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return isWhole;
}

/** @throws {Error} saying what in Multus' files is missing or makes no sense. */
async function entryOf(
  directory: string,
  containerId: string,
  defaults: readonly string[],
): Promise<{ readonly plan: Plan; readonly done: readonly Step[] }> {
  const { path, delegates } = await readCached(directory, containerId);
  const results = await cachedResults(directory, containerId);
  const attachments: PlannedAttachment[] = [];
  const done: Step[] = [];
  const used: CachedResult[] = [];
  let unasked = 0;
  for (const [index, delegate] of delegates.entries()) {
    const cached = resultOf(delegate, index, results, used);
    if (cached === undefined) {
      throw new Error(
        `network ${delegate.name} has no result: Multus is attaching it, or has failed to; repeat this when it has ended`,
      );
    }
    used.push(cached);
    // They come first, in the order of Multus' configuration.
    const isUnasked = index > 0 && unasked === index - 1 && isSameName(defaults[unasked], delegate.name);
    if (isUnasked) unasked++;
    const planned = attachmentOf(delegate, index === 0, isUnasked, cached);
    plannedList(planned);
    attachments.push(planned);
    done.push({ step: 'added', ifName: planned.ifName, result: cached.result });
  }
  for (const cached of results.filter((each) => !used.includes(each))) {
    // multus-dynamic-networks-controller attached it: Multus itself would not release it.
    const extra = { name: cached.networkName, networkName: cached.networkName, ifName: undefined, list: undefined };
    const planned = attachmentOf(extra, false, true, cached);
    plannedList(planned);
    used.push(cached);
    attachments.push(planned);
    done.push({ step: 'added', ifName: planned.ifName, result: cached.result });
  }
  const [first] = used;
  if (first === undefined) throw new Error('it names no network');
  const plan: Plan = {
    version: 1,
    containerId,
    ifName: delegates[0]?.ifName === undefined ? first.ifName : 'eth0',
    netns: first.netns,
    args: formatArgs(new Map(first.cniArgs)),
    attachments,
    replaces: [...used.map((each) => each.path), path],
    plannedAt: Date.now(),
  };
  return { plan, done: [...done, { step: 'complete' }] };
}

/** libcni's result for a delegate, by the name that Multus gives to its interface (pkg/multus, getIfname). */
function resultOf(
  { networkName, ifName }: Delegate,
  index: number,
  results: readonly CachedResult[],
  used: readonly CachedResult[],
): CachedResult | undefined {
  const own = results.filter((each) => each.networkName === networkName && !used.includes(each));
  const wanted = ifName ?? (index === 0 ? 'eth0' : `net${index}`);
  const exact = own.find((each) => each.ifName === wanted);
  // The runtime may call the first interface otherwise.
  return exact ?? (index === 0 && own.length === 1 ? own[0] : undefined);
}

function attachmentOf(
  { name, networkName, list }: Delegate,
  isDefault: boolean,
  isUnasked: boolean,
  { path, ifName, config, capabilityArgs }: CachedResult,
): PlannedAttachment {
  const [namespace, definition] = name.split('/');
  const deviceInfoFile = capabilityArgs['CNIDeviceInfoFile'];
  return {
    network: name,
    ifName,
    isDefault,
    // Multus has put the pod's cni-args and its device into it already.
    config: list ?? config,
    defaultName: networkName,
    source: path,
    runtimeConfig: capabilityArgs,
    cniArgs: {},
    isTakenOver: true,
    ...(typeof deviceInfoFile === 'string' && deviceInfoFile.includes('/devinfo/cni/') && { deviceInfoFile }),
    ...(!isDefault && !isUnasked && namespace && definition && { selection: { namespace, name: definition } }),
  };
}

const isSameName = (wanted: string | undefined, name: string): boolean =>
  wanted !== undefined && (name === wanted || name.endsWith(`/${wanted}`));

/** Those of Multus' configuration, wherever it is by now; else those of the daemon's. */
async function defaultNetworks(directory: string, { overlay }: DaemonConfig): Promise<readonly string[]> {
  const found = (await configurations(directory)).filter(callsMultus).flatMap(({ plugins = [] }) => plugins);
  const aside = join(directory, `00-multus.conf${keptEnding}`);
  const isAside = await access(aside).then(
    () => true,
    () => false,
  );
  const kept = isAside ? parseJson(await readFile(aside, 'utf8'), aside) : undefined;
  for (const config of [...found, kept, overlay]) {
    const networks = isJsonObject(config) ? config['defaultNetworks'] : undefined;
    if (networks !== undefined && isJsonArray(networks)) return networks.filter((each) => typeof each === 'string');
  }
  return [];
}
