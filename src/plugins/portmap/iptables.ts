import { CniError, ErrorCode } from '../../cni/error.ts';
import { CommandError } from '../../linux/command.ts';
import { changeTable, lacksIptables, listTable, testTable } from '../../linux/iptables.ts';
import { formatIP, formatPrefix, type IP, type Prefix } from '../../net/ip.ts';
import { digest, type Owner } from '../masquerade/identity.ts';
import { quotedWord } from './conditions.ts';
import { boundTo, type Mapping, mappingsOf, type PortmapConfig } from './config.ts';

/*
 * What is for the node goes by a chain of all containers, whose rules lead what is for a port to the chain of a container
 * in a network; there its address is translated. Chains, comments and rules are those of the containernetworking plugin:
 * either finds the other's.
 */

const table = 'nat';

const entrance = 'CNI-HOSTPORT-DNAT';
const setMark = 'CNI-HOSTPORT-SETMARK';
const masquerade = 'CNI-HOSTPORT-MASQ';

/** The kernel takes chains of 28 characters (XT_EXTENSION_MAXNAMELEN less one), and comments of 255 (xt_comment.h). */
const digestLength = 21;
const maxCommentLength = 255;

/** XT_MULTI_PORTS of xt_multiport.h */
const mostPorts = 15;

/** How often what was planned is tried where others change the table meanwhile. */
const mostTries = 5;

/** xtables_exittype: the kernel, or the list of what it has, refused; a lock or memory was missing. */
const passingProblems: readonly (number | undefined)[] = [1, 4];

/**
 * Has the node's ports lead to a container, for the families of its addresses. What the interface had before is replaced.
 *
 * @param addresses One of each family at most.
 * @throws {CommandError} CniError 7 for a chain that is not there.
 */
export async function addIptables(owner: Owner, addresses: readonly Prefix[], config: PortmapConfig): Promise<void> {
  const plan = (address: Prefix) => (present: readonly string[]) => addition(present, owner, address, config);
  const tables = await Promise.all(addresses.map(({ ip }) => listTable(ip.family, table)));
  // Conditions are the only words that iptables may not know: no family is changed unless it knows those of both.
  await Promise.all(
    addresses.map(async (address, index) => {
      const lines = plan(address)(tables[index] ?? []);
      if (config.conditions[address.ip.family].length > 0) await testTable(address.ip.family, table, lines);
    }),
  );
  await Promise.all(addresses.map((address, index) => change(address.ip.family, plan(address), tables[index])));
}

/** Removes what leads to these addresses of a container in a network. Undefined: all that leads to it. */
export function removeIptables(owner: Owner, addresses: readonly IP[] | undefined): Promise<void> {
  return ofBothFamilies((present) => removal(present, owner, addresses?.map(formatIP)));
}

/** Removes what is for containers of a network that are none of these. */
export function gcIptables(network: string, valid: readonly Owner[]): Promise<void> {
  const kept = new Set(valid.map(chainOf));
  const begin = `--comment "dnat name: \\"${network}\\" id: `;
  return ofBothFamilies((present) => {
    const entries = entriesOf(present).filter(({ rule, chain }) => rule.includes(begin) && !kept.has(chain));
    const chains = [...new Set(entries.map(({ chain }) => chain))].filter((chain) => present.includes(`-N ${chain}`));
    return [...entries.map(({ rule }) => deletion(rule)), ...chains.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`])];
  });
}

/**
 * @throws {CniError} naming the first rule that is not there.
 * @throws {CommandError}
 */
export async function checkIptables(owner: Owner, addresses: readonly Prefix[], config: PortmapConfig): Promise<void> {
  const chain = chainOf(owner);
  for (const address of addresses) {
    const { family } = address.ip;
    const present = await listTable(family, table);
    for (const each of [entrance, chain]) {
      if (!present.includes(`-N ${each}`)) throw missing(family, `chain ${each} not found in iptables table ${table}`);
    }
    const rules = [
      ...entranceWays,
      ...ownRules(owner, address, config),
      ...ownEntries(owner, family, config).map((entry) => `${entrance} ${entry}`),
    ];
    try {
      await changeTable(
        family,
        table,
        rules.map((rule) => `-C ${rule}`),
      );
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      // The script's first line names the table.
      const line = Number(/line:? (\d+)/.exec(error.stderr)?.[1]) - 2;
      if (rules[line] === undefined) throw error;
      throw missing(family, `rule ${rules[line]} not found in table ${table}`);
    }
  }
}

const missing = (family: 4 | 6, what: string): CniError =>
  new CniError(ErrorCode.Internal, `could not check ipv${family} dnat: ${what}`);

async function ofBothFamilies(plan: (present: readonly string[]) => readonly string[]): Promise<void> {
  const outcomes = await Promise.allSettled(([4, 6] as const).map((family) => change(family, plan)));
  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
  // A node may have iptables for one family only.
  const [failure] = failures.filter((reason) => !lacksIptables(reason));
  if (failure !== undefined) throw failure;
}

/** Changes a table by what it has. What others changed meanwhile is looked at again. */
async function change(
  family: 4 | 6,
  plan: (present: readonly string[]) => readonly string[],
  known?: readonly string[],
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const lines = plan(tries === 1 && known !== undefined ? known : await listTable(family, table));
    if (lines.length === 0) return;
    try {
      return await changeTable(family, table, lines);
    } catch (error) {
      const isPassing = error instanceof CommandError && passingProblems.includes(error.status);
      if (!isPassing || tries === mostTries) throw error;
    }
  }
}

function addition(present: readonly string[], owner: Owner, address: Prefix, config: PortmapConfig): string[] {
  const { family } = address.ip;
  const external = config.externalSetMarkChain;
  if (config.snat && external !== undefined && !present.includes(`-N ${external}`)) {
    const wanted = `externalSetMarkChain: ${family === 4 ? 'iptables' : 'ip6tables'} has no chain ${external} in table ${table}`;
    throw new CniError(ErrorCode.InvalidNetworkConfig, `network "${owner.network}": ${wanted}`);
  }
  const chain = chainOf(owner);
  const { kept, entries } = staleOf(present, chain, [formatIP(address.ip)]);
  return [
    ...frame(present, config),
    ...entries.map(deletion),
    present.includes(`-N ${chain}`) ? `-F ${chain}` : `-N ${chain}`,
    ...kept,
    ...ownRules(owner, address, config).map((rule) => `-A ${rule}`),
    // Of two containers with one port, the one that came last counts.
    ...ownEntries(owner, family, config).map((entry, index) => `-I ${entrance} ${index + 1} ${entry}`),
  ];
}

function removal(present: readonly string[], owner: Owner, addresses: readonly string[] | undefined): string[] {
  const chain = chainOf(owner);
  const { kept, entries } = staleOf(present, chain, addresses);
  const rules = present.filter((rule) => rule.startsWith(`-A ${chain} `));
  if (!present.includes(`-N ${chain}`) || (kept.length > 0 && kept.length === rules.length))
    return entries.map(deletion);
  return [...entries.map(deletion), `-F ${chain}`, ...(kept.length > 0 ? kept : [`-X ${chain}`])];
}

/** What all containers use, as far as it is missing. A chain that somebody else makes meanwhile has this fail as a whole. */
function frame(present: readonly string[], { snat, markMasqBit, externalSetMarkChain }: PortmapConfig): string[] {
  const rules: string[] = [];
  const chains: string[] = [];
  const need = (chain: string, isThere: (rule: string) => boolean, rule: string): void => {
    if (!present.some((each) => each.startsWith(`-A ${chain} `) && isThere(each))) rules.push(rule);
  };
  if (snat && externalSetMarkChain === undefined) {
    const bit = `0x${(2 ** markMasqBit).toString(16)}`;
    const mark = `${bit}/${bit}`;
    chains.push(setMark, masquerade);
    const setting = `--set-xmark ${mark}`;
    const about = '-m comment --comment "CNI portfwd masquerade mark"';
    need(setMark, (rule) => rule.includes(setting), `-A ${setMark} ${about} -j MARK ${setting}`);
    const marked = `-m mark --mark ${mark}`;
    need(masquerade, (rule) => rule.includes(marked), `-A ${masquerade} ${marked} -j MASQUERADE`);
    const way = '-m comment --comment "CNI portfwd requiring masquerade"';
    // Before the rules by which a network masquerades what leaves it.
    need('POSTROUTING', leadsTo(masquerade), `-I POSTROUTING 1 ${way} -j ${masquerade}`);
  }
  chains.push(entrance);
  for (const way of entranceWays) need(way.split(' ', 1)[0] ?? '', leadsTo(entrance), `-A ${way}`);
  return [...chains.filter((chain) => !present.includes(`-N ${chain}`)).map((chain) => `-N ${chain}`), ...rules];
}

const leadsTo =
  (chain: string) =>
  (rule: string): boolean =>
    rule.endsWith(` -j ${chain}`);

const entranceWays = ['PREROUTING', 'OUTPUT'].map((hook) => `${hook} -m addrtype --dst-type LOCAL -j ${entrance}`);

/** `CHAIN ...`: for each mapping, what is to be masqueraded is marked, then the address is translated. */
function ownRules(owner: Owner, address: Prefix, config: PortmapConfig): string[] {
  const { family } = address.ip;
  const chain = chainOf(owner);
  const { snat, masqAll, externalSetMarkChain = setMark } = config;
  const everywhere = family === 4 ? '0.0.0.0/0' : '::/0';
  const sources = masqAll ? [everywhere] : [formatPrefix(address), ...(family === 4 ? ['127.0.0.1'] : [])];
  return mappingsOf(config.mappings, family).flatMap((mapping) => {
    const bound = boundTo(mapping);
    const way = `${chain} -p ${mapping.protocol} --dport ${mapping.hostPort}${bound === undefined ? '' : ` -d ${bound}`}`;
    const target = `${family === 4 ? formatIP(address.ip) : `[${formatIP(address.ip)}]`}:${mapping.containerPort}`;
    return [
      ...(snat ? sources.map((source) => `${way} -s ${source} -j ${externalSetMarkChain}`) : []),
      `${way} -j DNAT --to-destination ${target}`,
    ];
  });
}

/** The rules of the {@link entrance} that lead to a container's chain, for the ports of all its mappings. */
function ownEntries(owner: Owner, family: 4 | 6, { mappings, conditions }: PortmapConfig): string[] {
  const words = conditions[family].map((word) => ` ${quotedWord(word)}`).join('');
  return Object.entries(Object.groupBy(mappings, ({ protocol }) => protocol))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([protocol, own = []]) =>
      portLists(own).map(
        (ports) =>
          `-m comment --comment ${commentOf(owner)} -m multiport -p ${protocol} --destination-ports ${ports}${words} -j ${chainOf(owner)}`,
      ),
    );
}

function portLists(mappings: readonly Mapping[]): string[] {
  const ports = mappings.map(({ hostPort }) => hostPort);
  const lists: string[] = [];
  for (let start = 0; start < ports.length; start += mostPorts)
    lists.push(ports.slice(start, start + mostPorts).join());
  return lists;
}

interface Entry {
  /** `-A CNI-HOSTPORT-DNAT ...` */
  readonly rule: string;
  readonly chain: string;
}

function entriesOf(present: readonly string[]): Entry[] {
  return present.flatMap((rule): Entry[] => {
    const chain = /^-A CNI-HOSTPORT-DNAT .*-j (CNI-DN-[0-9a-f]{21})$/.exec(rule)?.[1];
    return chain === undefined ? [] : [{ rule, chain }];
  });
}

interface Stale {
  /** The rules of the chain that stay: those for the container's other interfaces in the network. */
  readonly kept: readonly string[];
  /** The rules that lead to the chain and go, being for none of those. */
  readonly entries: readonly string[];
}

/** @param addresses Undefined: all. */
function staleOf(present: readonly string[], chain: string, addresses: readonly string[] | undefined): Stale {
  const kept: string[] = [];
  let group: string[] = [];
  // The last rule for a mapping says whose it is.
  for (const rule of present.filter((each) => each.startsWith(`-A ${chain} `))) {
    group.push(rule);
    const address = /--to-destination \[?([0-9a-f.:]+?)\]?:\d+$/.exec(rule)?.[1];
    if (address === undefined) continue;
    if (addresses !== undefined && !addresses.includes(address)) kept.push(...group);
    group = [];
  }
  const ports = new Set(kept.map((rule) => /-p (\w+) .*--dport (\d+)/.exec(rule)?.slice(1).join(' ')));
  const own = entriesOf(present).filter((entry) => entry.chain === chain);
  const entries = own.filter(({ rule }) => {
    const [, protocol, list = ''] = /-p (\w+) .*--dports ([\d,]+)/.exec(rule) ?? [];
    return !list.split(',').some((port) => ports.has(`${protocol} ${port}`));
  });
  return { kept, entries: entries.map(({ rule }) => rule) };
}

const deletion = (rule: string): string => rule.replace(/^-A/, '-D');

const chainOf = ({ network, containerId }: Owner): string =>
  `CNI-DN-${digest(`${network}${containerId}`, digestLength)}`;

/** As iptables writes it itself. The characters of names and ids need no escape. */
function commentOf({ network, containerId }: Owner): string {
  const text = `dnat name: "${network}" id: "${containerId}"`;
  const cut = text.length > maxCommentLength ? `${text.slice(0, maxCommentLength - 3)}...` : text;
  return quotedWord(cut);
}
