import { type Chain, changeRuleset, listChain, quoted, type Rule } from '../../linux/nftables.ts';
import { formatIP, formatPrefix, networkOf, type Prefix } from '../../net/ip.ts';
import { digest, type Owner } from './identity.ts';

/*
 * One rule for each address in a chain of all networks; its comment begins with digests of who it is for. So it is in the
 * containernetworking plugins: either finds the other's rules.
 */

const checks: Chain = { family: 'inet', table: 'cni_plugins_masquerade', name: 'masq_checks' };
const table = `${checks.family} ${checks.table}`;

/** NFTNL_UDATA_COMMENT_MAXLEN of libnftnl. */
const maxCommentLength = 128;

export async function addNftables(owner: Owner, addresses: readonly Prefix[]): Promise<void> {
  const stale = await rulesOf(owner);
  await changeRuleset([
    `add table ${table}`,
    `add chain ${table} ${checks.name}`,
    `add chain ${table} postrouting { type nat hook postrouting priority 100 ; }`,
    `flush chain ${table} postrouting`,
    `add rule ${table} postrouting ip daddr 224.0.0.0/4 return`,
    `add rule ${table} postrouting ip6 daddr ff00::/8 return`,
    `add rule ${table} postrouting goto ${checks.name}`,
    ...stale.map(deletion),
    ...addresses.map((address) => {
      const { ip, length } = address;
      const protocol = ip.family === 4 ? 'ip' : 'ip6';
      const outside = `${protocol} daddr != ${formatPrefix({ ip: networkOf(address), length })}`;
      const comment = quoted(commentOf(owner));
      return `add rule ${table} ${checks.name} ${protocol} saddr ${formatIP(ip)} ${outside} masquerade comment ${comment}`;
    }),
  ]);
}

export async function removeNftables(owner: Owner): Promise<void> {
  await remove(await rulesOf(owner));
}

/** Removes the rules of a network that are for none of these. */
export async function gcNftables(network: string, valid: readonly Owner[]): Promise<void> {
  const owners = new Set(valid.map(ownerDigest));
  const rules = await listChain(checks);
  const ofNetwork = rules.filter(({ comment }) => comment?.startsWith(`${networkDigest(network)}-`));
  await remove(ofNetwork.filter(({ comment = '' }) => !owners.has(comment.split(',', 1)[0] ?? '')));
}

async function rulesOf(owner: Owner): Promise<readonly Rule[]> {
  const rules = await listChain(checks);
  return rules.filter(({ comment }) => comment?.startsWith(ownerDigest(owner)));
}

async function remove(rules: readonly Rule[]): Promise<void> {
  if (rules.length > 0) await changeRuleset(rules.map(deletion));
}

const deletion = ({ handle }: Rule): string => `delete rule ${table} ${checks.name} handle ${handle}`;

const networkDigest = (network: string): string => digest(network, 16);

const ownerDigest = ({ network, ifName, containerId }: Owner): string =>
  `${networkDigest(network)}-${digest(`${ifName}:${containerId}`, 16)}`;

/** An interface's name may have any character but a space; what nft could take for its own is left out. */
function commentOf(owner: Owner): string {
  const { network, ifName, containerId } = owner;
  const text = `${ownerDigest(owner)}, net: ${network}, if: ${ifName}, id: ${containerId}`;
  return text.replaceAll(/[^ -~]|["\\]/g, '').slice(0, maxCommentLength);
}
