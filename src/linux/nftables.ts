import { z } from 'zod';
import { CommandError, runCommand } from './command.ts';

/* Packet filter rules by nft(8): read as JSON (libnftables-json(5)), changed by scripts or by JSON. */

/** A chain, or a set. */
export interface Chain {
  readonly family: 'ip' | 'ip6' | 'inet' | 'bridge';
  readonly table: string;
  readonly name: string;
}

export interface Rule {
  /** What the kernel calls it in its chain. */
  readonly handle: number;
  readonly comment: string | undefined;
  /** The name of the interface that it is about: `iifname "veth0"`. */
  readonly input: string | undefined;
  /** The chain that it leads to. */
  readonly target: string | undefined;
}

/** Of a rule's parts, those that are of use here; of others, nothing is known. */
const part = z
  .object({
    match: z.object({ left: z.object({ meta: z.object({ key: z.literal('iifname') }) }), right: z.string() }),
    jump: z.object({ target: z.string() }),
  })
  .partial()
  .catch({});

const rule = z.object({ handle: z.int(), comment: z.string().optional(), expr: z.array(part).default([]) });
const set = z.object({ elem: z.array(z.string()).catch([]) });
const ruleset = z.object({ nftables: z.array(z.object({ rule: rule.optional(), set: set.optional() })) });

/**
 * The rules of a chain; none where there is no such chain.
 *
 * @throws {CommandError} see {@link lacksNftables}.
 */
export async function listChain(chain: Chain): Promise<readonly Rule[]> {
  return (await findChain(chain)) ?? [];
}

/**
 * {@link listChain} for a chain that somebody else makes.
 *
 * @returns undefined where there is no such chain.
 * @throws {CommandError}
 */
export async function findChain({ family, table, name }: Chain): Promise<readonly Rule[] | undefined> {
  const listed = await list('chain', family, table, name);
  return listed?.flatMap(({ rule }): Rule[] => {
    if (rule === undefined) return [];
    const { handle, comment, expr } = rule;
    const input = expr.find(({ match }) => match !== undefined)?.match?.right;
    return [{ handle, comment, input, target: expr.find(({ jump }) => jump !== undefined)?.jump?.target }];
  });
}

/**
 * The elements of a set whose type is one text, such as an interface's name; none where there is no such set.
 *
 * @throws {CommandError}
 */
export async function listSet({ family, table, name }: Chain): Promise<readonly string[]> {
  const listed = await list('set', family, table, name);
  return listed?.flatMap(({ set }) => set?.elem ?? []) ?? [];
}

/**
 * Whether a set has all of these elements.
 *
 * @param elements As in nft(8). What is not a constant in them must be checked to be no syntax.
 * @throws {CommandError}
 */
export async function hasElements({ family, table, name }: Chain, elements: readonly string[]): Promise<boolean> {
  const found = unlessMissing(runCommand('nft', ['get', 'element', family, table, name, `{ ${elements.join(', ')} }`]));
  return (await found) !== undefined;
}

async function list(...words: readonly string[]): Promise<z.output<typeof ruleset>['nftables'] | undefined> {
  const json = await unlessMissing(runCommand('nft', ['--json', '--handle', 'list', ...words]));
  return json === undefined ? undefined : ruleset.parse(JSON.parse(json)).nftables;
}

/** @returns undefined where there is not what was asked for. */
async function unlessMissing(output: Promise<string>): Promise<string | undefined> {
  try {
    return await output;
  } catch (error) {
    if (error instanceof CommandError && error.stderr.includes('No such file or directory')) return undefined;
    throw error;
  }
}

/**
 * Runs commands in one transaction: all or none.
 *
 * @param lines As in nft(8). What is not a constant in them must be checked to be no syntax.
 * @throws {CommandError}
 */
export async function changeRuleset(lines: readonly string[]): Promise<void> {
  await runCommand('nft', ['--file', '-'], `${lines.join('\n')}\n`);
}

/**
 * {@link changeRuleset} by commands in JSON, in which every text is one: a name of a chain cannot be syntax.
 *
 * @param commands As in libnftables-json(5): `{ add: { chain: { ... } } }`. Few: they are one argument of a program.
 * @throws {CommandError}
 */
export async function applyCommands(commands: readonly object[]): Promise<void> {
  // Not from standard input: nft would open that by its name, which cannot be done with a socket.
  await runCommand('nft', ['--json', JSON.stringify({ nftables: commands })]);
}

/** A text between quotes. nft knows no way to write a quote in it. */
export function quoted(text: string): string {
  if (/["\n\\]/.test(text)) throw new Error(`${JSON.stringify(text)} cannot be written in a script of nft`);
  return `"${text}"`;
}

/** Whether nft failed because this node has none, or its kernel does not: there are no rules then. */
export function lacksNftables(error: unknown): boolean {
  return error instanceof CommandError && (error.isMissing || /not supported|unable to initialize/i.test(error.stderr));
}
