import { plannedList } from '../attach/plan.ts';
import type { NetworkConfigList } from '../cni/config.ts';
import { toCniError } from '../cni/error.ts';
import type { Entry, PlannedAttachment } from '../journal/entry.ts';
import { Scope } from '../linux/route.ts';
import { equalIP, formatIP, formatPrefix, parsePrefix } from '../net/ip.ts';
import { parseHostLocalConfig } from '../plugins/host-local/config.ts';
import { lookAtReservations } from '../plugins/host-local/look.ts';
import { rangeFor } from '../plugins/host-local/range.ts';
import { describeOwner } from '../plugins/host-local/reservations.ts';
import { type NamespaceView, viewAt } from './namespace-view.ts';
import { hostLocalConfigs, type WantedInterface, wantedInterface } from './wanted.ts';

/** An interface as the kernel has it. */
export interface FoundInterface {
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** `address/length`, without those of the link itself. */
  readonly addresses: readonly string[];
}

/** One attachment of the journal, held against the kernel. */
export interface Compared {
  readonly entry: Entry;
  readonly planned: PlannedAttachment;
  /** Types of the plugins of its chain, in order. */
  readonly plugins: readonly string[];
  /** Undefined where the ADD did not get so far. */
  readonly wanted: WantedInterface | undefined;
  readonly found: FoundInterface | undefined;
  /** What is not as the journal has it, a sentence each. */
  readonly differences: readonly string[];
}

/** Tells what a directory of host-local's keeps. */
export type Look = typeof lookAtReservations;

/** Compares what the journal has of sandboxes, attachment by attachment, with what is there. Changes nothing. */
export async function compareSandboxes(entries: readonly Entry[]): Promise<Compared[]> {
  const look = lookOnce();
  const compared: Compared[] = [];
  for (const entry of entries) {
    compared.push(...(await compareSandbox(entry, await viewAt(entry.plan.netns), look)));
  }
  return compared;
}

/** Many pods share a directory, which has a file for each: it is read once for as long as this is used. */
export function lookOnce(): Look {
  const directories = new Map<string, ReturnType<Look>>();
  return (directory) => {
    const known = directories.get(directory) ?? lookAtReservations(directory);
    directories.set(directory, known);
    return known;
  };
}

/**
 * Compares one sandbox.
 *
 * @param sandbox What its namespace has, or a sentence on why there is nothing to look at.
 */
export async function compareSandbox(entry: Entry, sandbox: NamespaceView | string, look: Look): Promise<Compared[]> {
  const held = entry.plan.attachments.filter(({ ifName }) => !entry.deleted.has(ifName));
  return Promise.all(held.map((planned) => compare(entry, planned, sandbox, look)));
}

async function compare(
  entry: Entry,
  planned: PlannedAttachment,
  sandbox: NamespaceView | string,
  look: Look,
): Promise<Compared> {
  const differences = unfinished(entry, planned);
  let list: NetworkConfigList | undefined;
  let wanted: WantedInterface | undefined;
  try {
    list = plannedList(planned);
    wanted = wantedInterface(entry, planned);
  } catch (error) {
    differences.push(`the journal's entry makes no sense: ${toCniError(error).message}`);
  }
  if (typeof sandbox === 'string') differences.push(sandbox);
  const found = typeof sandbox === 'string' ? undefined : foundInterface(planned.ifName, sandbox);
  if (typeof sandbox !== 'string' && wanted !== undefined) differences.push(...interfaceDifferences(wanted, found));
  if (list !== undefined && wanted !== undefined) {
    differences.push(...(await reservationDifferences(entry, planned, list, wanted, look)));
  }
  return { entry, planned, plugins: list?.plugins.map(({ type }) => type) ?? [], wanted, found, differences };
}

function unfinished({ complete, deleted, detaching, results }: Entry, { ifName }: PlannedAttachment): string[] {
  if (deleted.size > 0) return ['its DEL has not ended: this is still held'];
  if (!complete) return ['its ADD has not ended: it is under way, or the daemon was killed in its midst'];
  if (detaching.has(ifName)) return ['it is being detached, or could not be: this may still be held'];
  return results.has(ifName) ? [] : ['it is being attached, or could not be taken back: this may be held'];
}

function foundInterface(ifName: string, sandbox: NamespaceView): FoundInterface | undefined {
  const link = sandbox.links.find(({ name }) => name === ifName);
  if (link === undefined) return undefined;
  const own = sandbox.addresses.filter(({ index, scope }) => index === link.index && scope !== Scope.link);
  return {
    mac: link.mac,
    mtu: link.mtu,
    up: link.flags.up,
    addresses: own.map(({ address }) => formatPrefix(address)),
  };
}

function interfaceDifferences(wanted: WantedInterface, found: FoundInterface | undefined): string[] {
  if (found === undefined) return ['the interface is not there'];
  const missing = wanted.addresses.map(canonical).filter((address) => !found.addresses.includes(address));
  return [
    ...(found.up ? [] : ['it is down']),
    ...(wanted.mac === undefined || wanted.mac === found.mac
      ? []
      : [`its MAC address is ${found.mac || 'none'}, it was given ${wanted.mac}`]),
    ...missing.map((address) => `address ${address} is not on it`),
  ];
}

/** Whether host-local still keeps each address for this attachment. */
async function reservationDifferences(
  { plan: { containerId } }: Entry,
  { ifName, runtimeConfig }: PlannedAttachment,
  list: NetworkConfigList,
  { addresses: given }: WantedInterface,
  look: Look,
): Promise<string[]> {
  const differences: string[] = [];
  for (const config of hostLocalConfigs(list)) {
    try {
      const { directory, sets } = parseHostLocalConfig({ ...config, runtimeConfig }, new Map());
      const reservations = await look(directory);
      const own = reservations.of(containerId, ifName);
      for (const { ip } of given.map(parsePrefix)) {
        // What is in none of its ranges came from another plugin of the chain.
        if (!sets.some((set) => rangeFor(set, ip)) || own.some((each) => equalIP(each.ip, ip))) continue;
        const other = reservations.at(ip)?.owner;
        const holder =
          other === undefined ? 'for nobody' : `for ${other === '' ? 'somebody else' : describeOwner(other)}`;
        differences.push(`address ${formatIP(ip)} is reserved ${holder} in ${directory}`);
      }
    } catch (error) {
      differences.push(`its reservation cannot be looked at: ${toCniError(error).message}`);
    }
  }
  return differences;
}

const canonical = (address: string): string => formatPrefix(parsePrefix(address));
