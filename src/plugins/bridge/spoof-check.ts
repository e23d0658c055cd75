import { CniError, ErrorCode } from '../../cni/error.ts';
import type { PluginCall } from '../../cni/plugin.ts';
import { CommandError } from '../../linux/command.ts';
import { type Link, links } from '../../linux/link.ts';
import { applyCommands, type Chain, lacksNftables, listChain, type Rule } from '../../linux/nftables.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { digest } from '../masquerade/identity.ts';

/*
 * What a container sends under another's MAC address is dropped where it comes into the bridge. Chains, rules and comments
 * are those of the containernetworking plugins: either finds the other's.
 */

const table = { family: 'bridge', table: 'nat' } as const;
const base: Chain = { ...table, name: 'PREROUTING' };

/** NFTNL_UDATA_COMMENT_MAXLEN of libnftnl. */
const maxCommentLength = 128;

/** Rules removed by one run of nft: an argument of a program is at most 128 KB long (MAX_ARG_STRLEN). */
const mostAtOnce = 50;

interface Names {
  readonly byInterface: string;
  readonly byMac: string;
  readonly comment: string;
}

function namesOf({ attachment: { containerId, ifName } }: PluginCall): Names {
  const id = `${containerId}-${ifName}`;
  const byInterface = `cni-br-iface-${id}`;
  const comment = `macspoofchk-${id}`;
  const isLong = Buffer.byteLength(comment) > maxCommentLength;
  return { byInterface, byMac: `${byInterface}-mac`, comment: isLong ? `macspoofchk-${digest(id, 64)}` : comment };
}

/**
 * @param port The node's end of the container's veth.
 * @param mac The container's address.
 * @throws {CniError} when the node cannot; no rule is left then.
 */
export async function addSpoofCheck(call: PluginCall, { name }: Pick<Link, 'name'>, mac: string): Promise<void> {
  const { byInterface, byMac, comment } = namesOf(call);
  const rule = (chain: string, ...expr: readonly object[]) => ({ add: { rule: { ...table, chain, comment, expr } } });
  const source = { payload: { protocol: 'ether', field: 'saddr' } };
  try {
    const stale = await ownRules(comment);
    await applyCommands([
      { add: { table: { family: table.family, name: table.table } } },
      { add: { chain: { ...base, type: 'filter', hook: 'prerouting', prio: -300, policy: 'accept' } } },
      ...[byInterface, byMac].flatMap((chain) => [
        { add: { chain: { ...table, name: chain } } },
        { flush: { chain: { ...table, name: chain } } },
      ]),
      ...stale.map(deletion),
      rule(byMac, { match: { op: '==', left: source, right: mac } }, { return: null }),
      rule(byMac, { drop: null }),
      rule(byInterface, { jump: { target: byMac } }),
      rule(
        base.name,
        { match: { op: '==', left: { meta: { key: 'iifname' } }, right: name } },
        { jump: { target: byInterface } },
      ),
    ]);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new CniError(
      ErrorCode.Internal,
      `network "${call.config.name}": macspoofchk: ${error.message}`,
      lacksNftables(error) ? 'the check needs nftables on the node, package nftables' : error.stderr,
      { cause: error },
    );
  }
}

/** Removes an attachment's rules and chains; those of all attachments come from one table, which stays. */
export function removeSpoofCheck(call: PluginCall): Promise<void> {
  const { comment } = namesOf(call);
  return removeChecks(() => ownRules(comment));
}

/** Removes the rules of ports that are gone: a rule does not say of which network its container was. */
export function gcSpoofChecks(node: Rtnetlink): Promise<void> {
  return removeChecks(async () => {
    const rules = await listChain(base);
    const [all] = await node.run(links.list());
    const names = new Set(all.map(({ name }) => name));
    return rules.filter(({ comment, input }) => {
      return comment?.startsWith('macspoofchk-') === true && input !== undefined && !names.has(input);
    });
  });
}

async function removeChecks(find: () => Promise<readonly Rule[]>): Promise<void> {
  try {
    const rules = await find();
    for (let i = 0; i < rules.length; i += mostAtOnce) {
      await applyCommands(removal(rules.slice(i, i + mostAtOnce)));
    }
  } catch (error) {
    // What a node has no program for has left no rules there.
    if (!lacksNftables(error)) throw error;
  }
}

/** Of rules and the chains that they lead to. One that is made where it is missing can be deleted without a look. */
function removal(rules: readonly Rule[]): readonly object[] {
  const targets = new Set(rules.flatMap(({ target }) => target ?? []));
  const chains = [...targets].flatMap((name) => [name, `${name}-mac`]);
  return [
    ...rules.map(deletion),
    ...chains.flatMap((name) => [
      { add: { chain: { ...table, name } } },
      { flush: { chain: { ...table, name } } },
      { delete: { chain: { ...table, name } } },
    ]),
  ];
}

/** All of it is made at once: where there is no rule that leads to the chains, there are none. */
async function ownRules(comment: string): Promise<readonly Rule[]> {
  const rules = await listChain(base);
  return rules.filter((rule) => rule.comment === comment);
}

const deletion = ({ handle }: Rule) => ({ delete: { rule: { ...table, chain: base.name, handle } } });
