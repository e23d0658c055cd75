import { z } from 'zod';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { type Chain, changeRuleset, findChain, hasElements, lacksNftables, listSet } from '../../linux/nftables.ts';
import { formatIP, type IP } from '../../net/ip.ts';
import type { Policy, Wanted } from './policy.ts';

/*
 * Policies are a table of our own. To let a pod through takes a rule in the very chain that drops what is forwarded: an
 * accept counts in its own chain only (nft(8), "VERDICT STATEMENT"). Bridges and addresses are elements of sets, so that
 * rules are as many as ever and no pod waits for another.
 */

const ours = 'inet plexus_firewall';
const inOurs = (name: string): Chain => ({ family: 'inet', table: 'plexus_firewall', name });

const forward = inOurs('forward');
const bridges = inOurs('bridges');
/** Of the bridges, those within which pods reach each other, and those within which they do not; each twice, to compare both ends. */
const open = inOurs('open');
const isolated = inOurs('isolated');

/** What our rules in another's chain are known by. */
const comment = 'plexus_firewall';

const types = { 4: { protocol: 'ip', type: 'ipv4_addr' }, 6: { protocol: 'ip6', type: 'ipv6_addr' } } as const;

/** The chain that pods are let through in, unless another is named: where Debian and Fedora have theirs. */
const defaultChain: Chain = { family: 'inet', table: 'filter', name: 'forward' };

/** `inet filter forward`. iptables would not understand its own table any more. */
export const chainName = z
  .string()
  .regex(
    /^(|(ip|ip6|inet) [A-Za-z][A-Za-z0-9_]{0,63} [A-Za-z][A-Za-z0-9_]{0,63})$/,
    'expected family, table and name of a chain, such as "inet filter forward"',
  )
  .refine((text) => !/^ip6? filter FORWARD$/.test(text), 'expected a chain that is not one of iptables')
  .default('');

/** @param text Of {@link chainName}. */
export function parseChain(text: string): Chain {
  const [family, table = '', name = ''] = text.split(' ');
  return family === 'ip' || family === 'ip6' || family === 'inet' ? { family, table, name } : defaultChain;
}

/** @throws {CommandError} no rule is left then. */
export async function addNftables({ addresses, policy }: Wanted, chain: Chain): Promise<void> {
  const present = addresses.length === 0 ? undefined : await findChain(chain);
  if (present === undefined && chain !== defaultChain && addresses.length > 0) {
    const { family, table, name } = chain;
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `nftablesChain: the node has no chain "${family} ${table} ${name}"`,
    );
  }
  const isNew = present?.every((rule) => rule.comment !== comment) ?? false;
  const lines = [
    ...(present === undefined ? [] : passLines(chain, addresses, isNew)),
    ...(policy === undefined ? [] : policyLines(policy, await findChain(forward))),
  ];
  if (lines.length > 0) await changeRuleset(lines);
}

/** Where the node has no nftables, there is nothing to remove. */
export async function removeNftables(addresses: readonly IP[], chain: Chain): Promise<void> {
  try {
    const own = ofChain(chain, addresses);
    const present = own.length === 0 ? undefined : await findChain(chain);
    if (present?.some((rule) => rule.comment === comment) !== true) return;
    await changeRuleset(own.flatMap((ip) => removal(passing(chain, ip.family), formatIP(ip))));
  } catch (error) {
    if (!lacksNftables(error)) throw error;
  }
}

/** Removes the policies of interfaces that are gone. */
export async function removeNftablesPolicies(isThere: (name: string) => boolean): Promise<void> {
  try {
    const gone = (await listSet(bridges)).filter((name) => !isThere(name));
    if (gone.length === 0) return;
    await changeRuleset(
      gone.flatMap((name) => [
        ...removal(bridges, quote(name)),
        ...removal(open, both(name)),
        ...removal(isolated, both(name)),
      ]),
    );
  } catch (error) {
    if (!lacksNftables(error)) throw error;
  }
}

/** @throws {CniError} where something is missing. */
export async function checkNftables({ addresses, policy }: Wanted, chain: Chain): Promise<void> {
  const place = `${chain.family} ${chain.table} ${chain.name}`;
  const present = addresses.length === 0 ? undefined : await findChain(chain);
  if (present?.some((rule) => rule.comment === comment) === false) throw missing(`the rules in chain ${place} are`);
  for (const ip of present === undefined ? [] : ofChain(chain, addresses)) {
    const set = passing(chain, ip.family);
    if (!(await hasElements(set, [formatIP(ip)]))) throw missing(`${formatIP(ip)} in set ${set.name} of ${place} is`);
  }
  if (policy === undefined) return;
  const { kind, bridge } = policy;
  const isKept =
    (await hasElements(bridges, [quote(bridge)])) &&
    (await hasElements(kind === 'isolated' ? isolated : open, [both(bridge)]));
  const rules = isKept ? await findChain(forward) : undefined;
  if (rules?.length !== policyRules.length) throw missing(`the policy of ${bridge} in table ${ours} is`);
}

const missing = (what: string): CniError => new CniError(ErrorCode.Internal, `${what} not found in nftables`);

/** A set of another's table, by a name of our own. */
const passing = ({ family, table }: Chain, version: 4 | 6): Chain => ({
  family,
  table,
  name: `plexus_pods${version}`,
});

/** Those that can come by: a table of one family has only that one's. */
function ofChain({ family }: Chain, addresses: readonly IP[]): readonly IP[] {
  return addresses.filter((ip) => family === 'inet' || family === types[ip.family].protocol);
}

const versionsOf = ({ family }: Chain): readonly (4 | 6)[] =>
  ([4, 6] as const).filter((version) => family === 'inet' || family === types[version].protocol);

const setLines = (chain: Chain): readonly string[] =>
  versionsOf(chain).map((version) => {
    const { family, table, name } = passing(chain, version);
    return `add set ${family} ${table} ${name} { type ${types[version].type} ; }`;
  });

/** @param isNew Whether the rules are not there yet. */
function passLines(chain: Chain, addresses: readonly IP[], isNew: boolean): readonly string[] {
  const { family, table, name } = chain;
  const rule = (text: string): string => `insert rule ${family} ${table} ${name} ${text} accept comment "${comment}"`;
  return [
    ...setLines(chain),
    ...(isNew ? versionsOf(chain) : []).flatMap((version) => {
      const { protocol } = types[version];
      const set = `@${passing(chain, version).name}`;
      return [rule(`${protocol} saddr ${set}`), rule(`${protocol} daddr ${set} ct state established,related`)];
    }),
    ...ofChain(chain, addresses).map((ip) => addition(passing(chain, ip.family), formatIP(ip))),
  ];
}

/** What drops, whatever the bridges are. */
const policyRules = [
  `iifname . oifname @${isolated.name}`,
  `iifname @${bridges.name} oifname @${bridges.name} iifname . oifname != @${open.name}`,
].map((match) => `add rule ${ours} ${forward.name} ${match} drop`);

/**
 * The policy that a bridge had stays beside it, and the stricter one counts.
 *
 * @param present The rules that there are: to make them again has the kernel wait until nobody looks at the old ones.
 */
function policyLines({ kind, bridge }: Policy, present: readonly unknown[] | undefined): readonly string[] {
  const making = [
    `add table ${ours}`,
    `add set ${ours} ${bridges.name} { type ifname ; }`,
    ...[open, isolated].map(({ name }) => `add set ${ours} ${name} { type ifname . ifname ; }`),
    `add chain ${ours} ${forward.name} { type filter hook forward priority filter ; policy accept ; }`,
    `flush chain ${ours} ${forward.name}`,
    ...policyRules,
  ];
  return [
    ...(present?.length === policyRules.length ? [] : making),
    addition(bridges, quote(bridge)),
    kind === 'isolated' ? addition(isolated, both(bridge)) : addition(open, both(bridge)),
  ];
}

const addition = ({ family, table, name }: Chain, element: string): string =>
  `add element ${family} ${table} ${name} { ${element} }`;

/** It is added first, since to delete what is not there is an error. */
function removal(set: Chain, element: string): readonly string[] {
  const { family, table, name } = set;
  return [addition(set, element), `delete element ${family} ${table} ${name} { ${element} }`];
}

/** @param name Checked to be plain. */
const quote = (name: string): string => `"${name}"`;
const both = (name: string): string => `${quote(name)} . ${quote(name)}`;
