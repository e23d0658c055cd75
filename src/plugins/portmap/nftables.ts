import { CniError, ErrorCode } from '../../cni/error.ts';
import { changeRuleset, lacksNftables, quoted } from '../../linux/nftables.ts';
import { listRules, type TranslatingRule } from '../../linux/nftables-table.ts';
import { equalIP, formatIP, formatPrefix, type IP, networkOf, type Prefix, parseIP } from '../../net/ip.ts';
import { digest, type Owner } from '../masquerade/identity.ts';
import { boundTo, type Mapping, mappingsOf, type PortmapConfig } from './config.ts';

/*
 * A table for each family, with a rule for each mapping in a chain of all containers; its comment says which container it
 * is for. So it is in the containernetworking plugin: either finds the other's rules. Which network a rule is of, its
 * comment cannot say then: notes in a chain of their own do, that no packet comes to.
 */

const tableName = 'cni_hostport';
const mappings = 'hostports';
const masquerade = 'masquerading';
const notes = 'plexus_owners';

/** NFTNL_UDATA_COMMENT_MAXLEN of libnftnl. */
const maxCommentLength = 128;

const families = [4, 6] as const;
const protocolOf = { 4: 'ip', 6: 'ip6' } as const;
const tableOf = (family: 4 | 6): string => `${protocolOf[family]} ${tableName}`;

/**
 * Has the node's ports lead to a container, for the families of its addresses. What the interface had before is replaced.
 *
 * @param addresses One of each family at most.
 * @throws {CommandError}
 */
export async function addNftables(owner: Owner, addresses: readonly Prefix[], config: PortmapConfig): Promise<void> {
  const lines = addresses.map(async (address) => {
    const { family } = address.ip;
    const stale = (await listRules({ family: protocolOf[family], table: tableName })).filter(
      (rule) => isOwn(rule, owner) && isFor(rule, [address.ip]),
    );
    return [
      ...frame(family, config),
      ...stale.map((rule) => deletion(family, rule)),
      ...ownRules(owner, address, config),
    ];
  });
  await changeRuleset((await Promise.all(lines)).flat());
}

/** Removes what leads to these addresses of a container in a network. Undefined: all that is known to be of the network. */
export function removeNftables(owner: Owner, addresses: readonly IP[] | undefined): Promise<void> {
  return remove((rules) => {
    const own = rules.filter((rule) => isOwn(rule, owner));
    const noted = own.filter(({ chain }) => chain === notes).flatMap(addressOf);
    // Where nothing is noted, the containernetworking plugin made them: all are of one network, as far as it knows.
    const wanted = addresses ?? (noted.length > 0 ? noted : undefined);
    return wanted === undefined ? own : own.filter((rule) => isFor(rule, wanted));
  });
}

/** Removes what is for containers of a network that are none of these. */
export function gcNftables(network: string, valid: readonly Owner[]): Promise<void> {
  const kept = new Set(valid.map(noteOf));
  return remove((rules) => {
    const lost = rules.filter(
      ({ chain, comment }) => chain === notes && comment?.startsWith(networkMark(network)) && !kept.has(comment),
    );
    return rules.filter((rule) =>
      lost.some((note) => {
        const containerId = note.comment?.slice(networkMark(network).length);
        return rule === note || (rule.comment === containerId && isFor(rule, addressOf(note)));
      }),
    );
  });
}

/**
 * @throws {CniError} naming the chain that lacks a rule.
 * @throws {CommandError}
 */
export async function checkNftables(owner: Owner, addresses: readonly Prefix[], config: PortmapConfig): Promise<void> {
  for (const { ip } of addresses) {
    const { family } = ip;
    const all = await listRules({ family: protocolOf[family], table: tableName });
    const own = all.filter((rule) => isOwn(rule, owner) && isFor(rule, [ip]));
    const problem = (chain: string) =>
      new CniError(ErrorCode.Internal, `missing hostport rules in "${chain}" chain of table ${tableOf(family)}`);
    for (const hook of ['prerouting', 'output']) if (!all.some(({ chain }) => chain === hook)) throw problem(hook);
    for (const mapping of mappingsOf(config.mappings, family)) {
      if (!own.some((rule) => translates(rule, mapping, ip))) throw problem(mappings);
    }
    if (config.snat && !own.some(({ chain }) => chain === masquerade)) throw problem(masquerade);
  }
}

function translates({ matches, target }: TranslatingRule, mapping: Mapping, ip: IP): boolean {
  const { hostPort, containerPort, protocol } = mapping;
  const bound = boundTo(mapping);
  const places = matches.flatMap((match) => (match.field === 'daddr' ? parsedAddress(match.value) : []));
  const isBound = bound === undefined || places.some((place) => formatIP(place) === bound);
  const isPort = matches.some(
    (match) => match.protocol === protocol && match.field === 'dport' && match.value === hostPort,
  );
  const leads = target?.port === containerPort && parsedAddress(target.address).some((place) => equalIP(place, ip));
  return isBound && isPort && leads;
}

/** What all containers use. The first rules are written again each time, as the containernetworking plugin does. */
function frame(family: 4 | 6, { snat }: PortmapConfig): string[] {
  const table = tableOf(family);
  const all = 'hostports_all';
  const hooks = ['prerouting', 'output'].flatMap((hook) => [
    `add chain ${table} ${hook} { type nat hook ${hook} priority -100 ; }`,
    `flush chain ${table} ${hook}`,
    `add rule ${table} ${hook} fib daddr type local jump ${all}`,
  ]);
  return [
    `add table ${table} { comment "CNI portmap plugin" ; }`,
    `add chain ${table} ${mappings}`,
    `add chain ${table} hostip_hostports`,
    `add chain ${table} ${all}`,
    `flush chain ${table} ${all}`,
    `add rule ${table} ${all} jump hostip_hostports`,
    `add rule ${table} ${all} jump ${mappings}`,
    ...hooks,
    ...(snat ? [`add chain ${table} ${masquerade} { type nat hook postrouting priority 100 ; }`] : []),
    `add chain ${table} ${notes}`,
  ];
}

/** Conditions are in the container's own rules: in those of all, one container's would be every other's. */
function ownRules(owner: Owner, address: Prefix, { snat, masqAll, conditions, ...config }: PortmapConfig): string[] {
  const { family } = address.ip;
  const protocol = protocolOf[family];
  const ip = formatIP(address.ip);
  const comment = `comment ${quoted(ownComment(owner))}`;
  const to = `${protocol} daddr ${ip}`;
  const sources = [ip, ...(family === 4 ? ['127.0.0.1'] : [])].map((source) => `${protocol} saddr ${source} `);
  // The answer to a neighbour would not come by the node, which must translate it back.
  const neighbours = masqAll
    ? ''
    : `${protocol} saddr ${formatPrefix({ ip: networkOf(address), length: address.length })} `;
  const translations = mappingsOf(config.mappings, family).map((mapping) => {
    const bound = boundTo(mapping);
    const words = [
      ...conditions[family],
      ...(bound === undefined ? [] : [`${protocol} daddr ${bound}`]),
      `${mapping.protocol} dport ${mapping.hostPort}`,
      `dnat to ${family === 4 ? ip : `[${ip}]`}:${mapping.containerPort}`,
    ];
    return words.join(' ');
  });
  const rule = (verb: 'add' | 'insert', chain: string, text: string) =>
    `${verb} rule ${tableOf(family)} ${chain} ${text}`;
  return [
    // Of two containers with one port, the one that came last counts.
    ...translations.toReversed().map((text) => rule('insert', mappings, `${text} ${comment}`)),
    ...(snat ? sources.map((source) => rule('add', masquerade, `${source}${to} masquerade ${comment}`)) : []),
    ...(snat ? [rule('add', masquerade, `${neighbours}${to} ct status dnat masquerade ${comment}`)] : []),
    rule('add', notes, `${to} return comment ${quoted(noteOf(owner))}`),
  ];
}

/** In both families, as far as the node has them. */
async function remove(choose: (rules: readonly TranslatingRule[]) => readonly TranslatingRule[]): Promise<void> {
  const lines = await Promise.all(
    families.map(async (family) => {
      const rules = await listRules({ family: protocolOf[family], table: tableName }).catch((error: unknown) => {
        if (lacksNftables(error)) return [];
        throw error;
      });
      return choose(rules).map((rule) => deletion(family, rule));
    }),
  );
  if (lines.flat().length > 0) await changeRuleset(lines.flat());
}

const deletion = (family: 4 | 6, { chain, handle }: TranslatingRule): string =>
  `delete rule ${tableOf(family)} ${chain} handle ${handle}`;

function isOwn({ chain, comment }: TranslatingRule, owner: Owner): boolean {
  return comment === (chain === notes ? noteOf(owner) : ownComment(owner));
}

const isFor = (rule: TranslatingRule, addresses: readonly IP[]): boolean =>
  addressOf(rule).some((own) => addresses.some((ip) => equalIP(own, ip)));

/** The address of the container that a rule is for. */
function addressOf({ target, matches }: TranslatingRule): IP[] {
  if (target !== undefined) return parsedAddress(target.address);
  return matches.flatMap(({ field, value }) => (field === 'daddr' ? parsedAddress(value) : []));
}

function parsedAddress(text: string | number): IP[] {
  try {
    return [parseIP(String(text))];
  } catch {
    return [];
  }
}

/** The container that a rule is for, in the containernetworking plugin's way. */
const ownComment = ({ containerId }: Owner): string => containerId.slice(0, maxCommentLength);

const networkMark = (network: string): string => `${digest(network, 16)} `;

const noteOf = ({ network, containerId }: Owner): string =>
  `${networkMark(network)}${containerId}`.slice(0, maxCommentLength);
