import { CommandError, runCommand } from './command.ts';

/* Packet filter rules by iptables(8) and ip6tables(8), whichever kind the node has: legacy or of nf_tables. */

const programs = { 4: 'iptables', 6: 'ip6tables' } as const;

/** Seconds until a lock that another iptables holds must be free. */
const lockWait = '10';

/** xtables_exittype: what the kernel lacks, in the words of iptables a problem of versions. */
const versionProblem = 3;

/**
 * The chains and rules of a table, as commands that would make them: `-N CHAIN`, `-A CHAIN ... -j TARGET`.
 *
 * @throws {CommandError} see {@link lacksIptables}.
 */
export async function listTable(family: 4 | 6, table: string): Promise<readonly string[]> {
  const output = await runCommand(programs[family], ['--wait', lockWait, '--table', table, '--list-rules']);
  return output.split('\n').filter((line) => line !== '');
}

/**
 * Runs commands on a table in one transaction: all or none.
 *
 * @param lines As in iptables-restore(8). What is not a constant in them must be checked to be no syntax.
 * @throws {CommandError}
 */
export async function changeTable(family: 4 | 6, table: string, lines: readonly string[]): Promise<void> {
  await restore(family, table, lines, []);
}

/**
 * Has iptables read commands, and changes nothing.
 *
 * @param lines As of {@link changeTable}.
 * @throws {CommandError} where it does not understand them.
 */
export async function testTable(family: 4 | 6, table: string, lines: readonly string[]): Promise<void> {
  await restore(family, table, lines, ['--test']);
}

async function restore(
  family: 4 | 6,
  table: string,
  lines: readonly string[],
  options: readonly string[],
): Promise<void> {
  const script = [`*${table}`, ...lines, 'COMMIT', ''].join('\n');
  await runCommand(`${programs[family]}-restore`, ['--wait', lockWait, '--noflush', ...options], script);
}

/** Whether iptables failed because this node has none, or its kernel does not: there are no rules then. */
export function lacksIptables(error: unknown): boolean {
  if (!(error instanceof CommandError)) return false;
  return error.isMissing || error.status === versionProblem || error.stderr.includes('Failed to initialize nft');
}
