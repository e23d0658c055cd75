import { CniError, ErrorCode } from '../../cni/error.ts';
import { CommandError } from '../../linux/command.ts';
import { changeTable, lacksIptables, listTable } from '../../linux/iptables.ts';
import { formatPrefix, hostPrefix, type IP } from '../../net/ip.ts';
import type { Policy, Wanted } from './policy.ts';

/*
 * A chain for all pods, that begins with the administrator's, and two for the policies of bridges. Chains, comments and
 * rules are those of the containernetworking plugin: either finds the other's.
 */

const table = 'filter';
const pods = 'CNI-FORWARD';
/** What comes from a bridge that has a policy, and from there, what goes to another. */
const from = 'CNI-ISOLATION-STAGE-1';
const to = 'CNI-ISOLATION-STAGE-2';

export const ownChains: readonly string[] = [pods, from, to];

const comment = (about = ''): string => `-m comment --comment "CNI firewall plugin ${about}"`;
const ofPolicies = comment('rules (ingressPolicy: same-bridge|isolated)');

/** How often what was planned is tried where others change the table meanwhile. */
const mostTries = 5;

interface Rule {
  /** `CHAIN ...`, as iptables lists it. */
  readonly text: string;
  /** Before those that are there. */
  readonly isFirst: boolean;
}

const first = (text: string): Rule => ({ text, isFirst: true });
const last = (text: string): Rule => ({ text, isFirst: false });

/**
 * Lets pods through, and keeps to the policy of their bridge. All or nothing.
 *
 * @param adminChain undefined: no pod is let through, there is the policy only.
 * @throws {CommandError}
 */
export function addIptables(wanted: Wanted, adminChain: string | undefined): Promise<void> {
  return inTurn(async () => {
    const outcomes = await Promise.allSettled(
      familiesOf(wanted.addresses).map(async (family) => ({
        family,
        made: await change(family, (present) => missingLines(rulesOf(family, wanted, adminChain), present)),
      })),
    );
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed === undefined) return;
    for (const outcome of outcomes) if (outcome.status === 'fulfilled') await takeBack(outcome.value);
    throw failed.reason;
  });
}

/** Chains that somebody else uses by now stay. */
async function takeBack({ family, made }: { family: 4 | 6; made: readonly string[] }): Promise<void> {
  if (made.length === 0) return;
  await changeTable(family, table, inverse(made)).catch(() => undefined);
}

/** Removes what lets these addresses through. */
export function removeIptables(addresses: readonly IP[]): Promise<void> {
  return removeRules(familiesOf(addresses), (family) => {
    const own = new Set(addresses.flatMap((ip) => (ip.family === family ? podRules(ip) : [])).map(({ text }) => text));
    return (rule) => own.has(rule);
  });
}

/** Removes the policies of interfaces that are gone. */
export function removeIptablesPolicies(isThere: (name: string) => boolean): Promise<void> {
  return removeRules([4, 6], () => (rule) => {
    const [, name] =
      /^CNI-ISOLATION-STAGE-[12] (?:-i \S+ )?(?:! )?-o (\S+) -m comment --comment "CNI /.exec(rule) ?? [];
    return name !== undefined && !isThere(name);
  });
}

/** @throws {CniError} where a rule is missing. */
export async function checkIptables(wanted: Wanted, adminChain: string | undefined): Promise<void> {
  for (const family of familiesOf(wanted.addresses)) {
    const present = new Set(await listTable(family, table));
    const missing = rulesOf(family, wanted, adminChain).find(({ text }) => !present.has(`-A ${text}`));
    if (missing === undefined) continue;
    throw new CniError(ErrorCode.Internal, `expected rule "${missing.text}" not found in table ${table} of iptables`);
  }
}

/** In the order in which they are made. */
function rulesOf(family: 4 | 6, { addresses, policy }: Wanted, adminChain: string | undefined): readonly Rule[] {
  const own = addresses.filter((ip) => ip.family === family);
  const passing =
    adminChain === undefined
      ? []
      : [
          first(`FORWARD ${comment('rules')} -j ${pods}`),
          first(`${pods} ${comment('admin overrides')} -j ${adminChain}`),
          ...own.flatMap(podRules),
        ];
  return [...passing, ...(policy === undefined ? [] : policyRules(policy))];
}

function podRules(ip: IP): readonly Rule[] {
  const address = formatPrefix(hostPrefix(ip));
  return [
    last(`${pods} -d ${address} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`),
    last(`${pods} -s ${address} -j ACCEPT`),
  ];
}

function policyRules({ kind, bridge }: Policy): readonly Rule[] {
  const own = comment(`rules (ingressPolicy: ${kind})`);
  return [
    first(`FORWARD ${ofPolicies} -j ${from}`),
    first(`${from} -i ${bridge} ! -o ${bridge} ${own} -j ${to}`),
    ...(kind === 'isolated' ? [first(`${from} -i ${bridge} -o ${bridge} ${own} -j DROP`)] : []),
    last(`${from} ${ofPolicies} -j RETURN`),
    first(`${to} -o ${bridge} ${ofPolicies} -j DROP`),
    last(`${to} ${ofPolicies} -j RETURN`),
  ];
}

/** What makes the rules that are not there, and the chains that they are in and lead to. */
function missingLines(rules: readonly Rule[], present: readonly string[]): readonly string[] {
  const there = new Set(present);
  const missing = rules.filter(({ text }) => !there.has(`-A ${text}`));
  const chains = new Set(missing.flatMap(({ text }) => [text.split(' ', 1)[0], text.split(' -j ')[1]]));
  const made = [...chains].filter((name) => name !== undefined && !isBuiltin(name) && !there.has(`-N ${name}`));
  return [
    ...made.map((name) => `-N ${name}`),
    ...missing.map(({ text, isFirst }) => `${isFirst ? '-I' : '-A'} ${text}`),
    // Policies go before what lets pods through, also where that had been taken away.
    ...repeatedPolicies(missing, there),
  ];
}

function repeatedPolicies(missing: readonly Rule[], there: ReadonlySet<string>): readonly string[] {
  const policies = `FORWARD ${ofPolicies} -j ${from}`;
  const isAbove = missing.some(({ text }) => text.startsWith('FORWARD ') && text.endsWith(`-j ${pods}`));
  return isAbove && there.has(`-A ${policies}`) ? [`-D ${policies}`, `-I ${policies}`] : [];
}

const isBuiltin = (name: string): boolean => ['FORWARD', 'ACCEPT', 'DROP', 'RETURN'].includes(name);

/** What undoes lines of {@link missingLines}. */
function inverse(lines: readonly string[]): readonly string[] {
  return lines
    .filter((line) => !line.startsWith('-D'))
    .map((line) => line.replace(/^-N/, '-X').replace(/^-[AI]/, '-D'))
    .toReversed();
}

/** Where the node has no iptables, there is nothing to remove. */
async function removeRules(
  families: readonly (4 | 6)[],
  isToGoIn: (family: 4 | 6) => (rule: string) => boolean,
): Promise<void> {
  await inTurn(async () => {
    const outcomes = await Promise.allSettled(
      families.map((family) => {
        const isToGo = isToGoIn(family);
        return change(family, (present) =>
          present.flatMap((line) =>
            line.startsWith('-A ') && isToGo(line.slice(3)) ? [line.replace('-A', '-D')] : [],
          ),
        );
      }),
    );
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected' && !lacksIptables(outcome.reason)) throw outcome.reason;
    }
  });
}

/**
 * Plans from what is there, and does it, again where another program changed the table in between.
 *
 * @returns The lines that were run.
 */
async function change(
  family: 4 | 6,
  plan: (present: readonly string[]) => readonly string[],
): Promise<readonly string[]> {
  for (let tries = 1; ; tries++) {
    const present = await listTable(family, table);
    const lines = plan(present);
    if (lines.length === 0) return lines;
    try {
      await changeTable(family, table, lines);
      return lines;
    } catch (error) {
      if (!(error instanceof CommandError) || error.isMissing || tries === mostTries) throw error;
      if (present.join() === (await listTable(family, table)).join()) throw error;
    }
  }
}

const familiesOf = (addresses: readonly IP[]): readonly (4 | 6)[] =>
  ([4, 6] as const).filter((family) => addresses.some((ip) => ip.family === family));

/** All pods share chains: what one plans must not be what another just did. */
let turn: Promise<unknown> = Promise.resolve();

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const mine = turn.then(work, work);
  turn = mine.catch(() => undefined);
  return mine;
}
