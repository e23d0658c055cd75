import { changeTable, listTable } from '../../linux/iptables.ts';
import { formatPrefix, hostPrefix, networkOf, type Prefix } from '../../net/ip.ts';
import { both } from './both.ts';
import { digest, type Owner } from './identity.ts';

/*
 * A chain for each container in a network, and a rule for each of its addresses that leads there. Names, comments and
 * rules are those of the containernetworking plugins: either finds the other's.
 */

const table = 'nat';

/** The kernel takes chains of 28 characters (XT_EXTENSION_MAXNAMELEN less one), and comments of 255 (xt_comment.h). */
const digestLength = 24;
const maxCommentLength = 255;

const multicast = { 4: '224.0.0.0/4', 6: 'ff00::/8' } as const;

export function addIptables(owner: Owner, addresses: readonly Prefix[]): Promise<void> {
  return ofBothFamilies(async (family) => {
    const own = addresses.filter(({ ip }) => ip.family === family);
    if (own.length > 0) await addFamily(family, owner, own);
  });
}

const ofBothFamilies = (work: (family: 4 | 6) => Promise<void>): Promise<void> =>
  both(
    () => work(4),
    () => work(6),
  );

async function addFamily(family: 4 | 6, owner: Owner, addresses: readonly Prefix[]): Promise<void> {
  const chain = chainOf(owner);
  const present = await listTable(family, table);
  const comment = `-m comment --comment ${commentOf(owner)}`;
  const subnets = addresses.map((address) => formatPrefix({ ip: networkOf(address), length: address.length }));
  // Where the container has another interface in the network, its chain masquerades already: what it leaves alone goes first.
  const kept = [...new Set(subnets)].map((subnet) => ({
    rule: `${chain} -d ${subnet} ${comment} -j ACCEPT`,
    first: true,
  }));
  const all = { rule: `${chain} ! -d ${multicast[family]} ${comment} -j MASQUERADE`, first: false };
  const ways = addresses.map(({ ip }) => ({
    rule: `POSTROUTING -s ${formatPrefix(hostPrefix(ip))} ${comment} -j ${chain}`,
    first: false,
  }));
  const missing = [...kept, all, ...ways].filter(({ rule }) => !present.includes(`-A ${rule}`));
  await changeTable(family, table, [
    ...(present.includes(`-N ${chain}`) ? [] : [`:${chain} - [0:0]`]),
    ...missing.map(({ rule, first }) => `${first ? '-I' : '-A'} ${rule}`),
  ]);
}

/**
 * @param addresses The interface's, since the chain is that of all the container's interfaces in the network. Undefined:
 *   all of them.
 */
export function removeIptables(owner: Owner, addresses: readonly Prefix[] | undefined): Promise<void> {
  const chain = chainOf(owner);
  const sources = addresses?.map(({ ip }) => `-s ${formatPrefix(hostPrefix(ip))} `);
  return ofBothFamilies((family) =>
    remove(family, ({ rule, target }) => {
      return target === chain && (sources === undefined || sources.some((source) => rule.includes(source)));
    }),
  );
}

/** Removes the rules of a network that are for none of these. */
export function gcIptables(network: string, valid: readonly Owner[]): Promise<void> {
  const chains = new Set(valid.map(chainOf));
  const begin = `--comment "name: \\"${network}\\" id: `;
  return ofBothFamilies((family) => remove(family, ({ rule, target }) => rule.includes(begin) && !chains.has(target)));
}

interface Way {
  /** `-A POSTROUTING ...` */
  readonly rule: string;
  readonly target: string;
}

/** Removes ways to chains, and the chains to which no other leads. */
async function remove(family: 4 | 6, isToGo: (way: Way) => boolean): Promise<void> {
  const present = await listTable(family, table);
  const ways = present.flatMap((rule): Way[] => {
    const target = /^-A POSTROUTING .*-j (CNI-[0-9a-f]{24})$/.exec(rule)?.[1];
    return target === undefined ? [] : [{ rule, target }];
  });
  const going = new Set(ways.filter(isToGo));
  if (going.size === 0) return;
  const staying = new Set(ways.filter((way) => !going.has(way)).map(({ target }) => target));
  const chains = [...new Set([...going].map(({ target }) => target))].filter((chain) => !staying.has(chain));
  await changeTable(family, table, [
    ...[...going].map(({ rule }) => rule.replace(/^-A/, '-D')),
    ...chains.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`]),
  ]);
}

const chainOf = ({ network, containerId }: Owner): string => `CNI-${digest(`${network}${containerId}`, digestLength)}`;

/** As iptables writes it itself. The characters of names and ids need no escape. */
function commentOf({ network, containerId }: Owner): string {
  const text = `name: "${network}" id: "${containerId}"`.slice(0, maxCommentLength);
  return `"${text.replaceAll('"', '\\"')}"`;
}
