import { z } from 'zod';
import { CommandError, runCommand } from './command.ts';
import type { Chain } from './nftables.ts';

/** What a rule asks of a packet, where it compares a field of a header with one value. */
export interface Match {
  /** The header, such as `ip` or `tcp`, and the field in it, as nft(8) names them. */
  readonly protocol: string;
  readonly field: string;
  readonly value: string | number;
}

/** A rule that translates addresses, as far as that can be told. */
export interface TranslatingRule {
  readonly chain: string;
  /** What the kernel calls it in its chain. */
  readonly handle: number;
  readonly comment: string | undefined;
  readonly matches: readonly Match[];
  /** Where it has packets go instead. */
  readonly target: { readonly address: string; readonly port: number | undefined } | undefined;
}

const match = z.object({
  match: z.object({
    op: z.literal('=='),
    left: z.object({ payload: z.object({ protocol: z.string(), field: z.string() }) }),
    right: z.union([z.string(), z.number()]),
  }),
});
const dnat = z.object({ dnat: z.object({ addr: z.string(), port: z.number().optional() }) });
const rule = z.object({
  chain: z.string(),
  handle: z.int(),
  comment: z.string().optional(),
  expr: z.array(z.unknown()).default([]),
});
const ruleset = z.object({ nftables: z.array(z.object({ rule: rule.optional() })) });

/**
 * The rules of all chains of a table; none where there is no such table.
 *
 * @throws {CommandError} see {@link lacksNftables} of nftables.ts.
 */
export async function listRules({ family, table }: Omit<Chain, 'name'>): Promise<readonly TranslatingRule[]> {
  try {
    // Without --numeric, protocols and ports of /etc/services would be names.
    const json = await runCommand('nft', ['--json', '--handle', '--numeric', 'list', 'table', family, table]);
    return ruleset.parse(JSON.parse(json)).nftables.flatMap(({ rule }) => (rule === undefined ? [] : [ruleOf(rule)]));
  } catch (error) {
    if (error instanceof CommandError && error.stderr.includes('No such file or directory')) return [];
    throw error;
  }
}

function ruleOf({ chain, handle, comment, expr }: z.output<typeof rule>): TranslatingRule {
  const matches = expr.flatMap((each): Match[] => {
    const parsed = match.safeParse(each);
    if (!parsed.success) return [];
    const { left, right } = parsed.data.match;
    return [{ ...left.payload, value: right }];
  });
  const target = expr.flatMap((each) => {
    const parsed = dnat.safeParse(each);
    return parsed.success ? [{ address: parsed.data.dnat.addr, port: parsed.data.dnat.port }] : [];
  })[0];
  return { chain, handle, comment, matches, target };
}
