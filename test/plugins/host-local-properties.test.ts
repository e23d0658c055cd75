import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { DirectoryLock } from '../../src/plugins/host-local/lock.ts';
import { goPlugins } from '../../tools/debian.ts';
import { testDirectory } from '../support/directory.ts';
import { type Answer, HostLocalProcess } from './host-local-process.ts';

/*
 * host-local under whatever order of things: calls one after the other and at the same time, by a process of Plexus that
 * lives on, is restarted, and is killed at any step, and by the Go plugin, which is killed, too, in the same directory.
 */

/** Milliseconds for all orders that are tried, those to find a shorter one that fails included. */
const timeLimit = 12_000;
const orders = 40;

const network = 'net-a';

/** The addresses of each range set that are given away, in their order; 10.1.2.1 and 10.1.3.1 are gateways. */
const sets: readonly (readonly string[])[] = [
  ['10.1.2.3', '10.1.2.4', '10.1.2.5', '10.1.3.2', '10.1.3.3', '10.1.3.4'],
  ['fd00::e', 'fd00::f', 'fd00::10', 'fd00::11', 'fd00::12'],
];

const ranges = [
  [
    { subnet: '10.1.2.0/29', rangeStart: '10.1.2.3', rangeEnd: '10.1.2.5' },
    { subnet: '10.1.3.0/29', rangeEnd: '10.1.3.4' },
  ],
  [{ subnet: 'fd00::/64', rangeStart: 'fd00::e', rangeEnd: 'fd00::12' }],
];

/** More than there are addresses for. Two of one container are two interfaces of it. */
const owners = ['c1 net1', 'c1 net2', 'c2 net1', 'c3 net1', 'c4 net1', 'c5 net1', 'c6 net1', 'c7 net1'] as const;

interface Call {
  readonly by: 'plexus' | 'go';
  readonly command: 'ADD' | 'DEL';
  readonly owner: (typeof owners)[number];
  /** An address to ask for. */
  readonly ip: string | undefined;
  /** Of Plexus, the change on disk before which it is killed; of Go, the milliseconds until it is. 0: it is not. */
  readonly kill: number;
}

/** Calls at the same time, or a restart of the process. */
type Step = readonly Call[] | 'restart';

const call: fc.Arbitrary<Call> = fc.record({
  by: fc.constantFrom('plexus', 'plexus', 'go'),
  command: fc.constantFrom('ADD', 'ADD', 'DEL'),
  owner: fc.constantFrom(...owners),
  ip: fc.option(fc.constantFrom(...(sets[0] ?? [])), { nil: undefined, freq: 6 }),
  kill: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 6 }) }),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(call) },
  { weight: 4, arbitrary: fc.uniqueArray(call, { selector: ({ owner }) => owner, minLength: 2, maxLength: 5 }) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
);

let goHostLocal: string;

before(async () => {
  goHostLocal = join(await goPlugins('1.9'), 'host-local');
});

test('no address is given twice or from outside its range, the next one follows the last, and all come back', async () => {
  let played = 0;
  const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
    await play(steps);
    played++;
  });
  await fc.assert(property, { numRuns: orders, interruptAfterTimeLimit: timeLimit });
  assert.ok(played > 0);
});

async function play(steps: readonly Step[]): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { path: dataDir } = stack.use(await testDirectory());
  const plexus = stack.use(new HostLocalProcess());
  const directory = join(dataDir, network);
  await mkdir(directory);
  /** What each was answered; one whose call was killed is not in here, since nobody knows. */
  const known = new Map<string, readonly string[]>(owners.map((owner) => [owner, []]));

  for (const planned of steps) {
    if (planned === 'restart') {
      await plexus[Symbol.asyncDispose]();
      continue;
    }
    const before = await look(directory);
    // No runtime sends a second ADD without a DEL between them: the Go plugin would let the first one's addresses go.
    const step = planned.map((each) => (before.held.has(each.owner) ? { ...each, command: 'DEL' as const } : each));
    const answers = await Promise.all(step.map((each) => make(each, dataDir, plexus)));
    for (const [index, each] of step.entries()) {
      const alone = step.length === 1 ? { addresses: expected(before, each) } : undefined;
      learn(known, each, answers[index], alone);
    }
    compare(await look(directory), known);
  }

  for (const owner of owners) {
    const answer = await make({ by: 'plexus', command: 'DEL', owner, ip: undefined, kill: 0 }, dataDir, plexus);
    assert.equal(answer?.failed ?? false, false);
  }
  // Where the process was killed by what it was told before, it is another one that finds what it left.
  for (const owner of owners)
    await make({ by: 'plexus', command: 'DEL', owner, ip: undefined, kill: 0 }, dataDir, plexus);
  assert.deepEqual((await look(directory)).held, new Map());
}

async function make(
  { by, command, owner, ip, kill }: Call,
  dataDir: string,
  plexus: HostLocalProcess,
): Promise<Answer | undefined> {
  const [containerId = '', ifName = ''] = owner.split(' ');
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_IFNAME: ifName,
    CNI_NETNS: '/run/netns/none',
    CNI_PATH: '/nowhere',
  };
  const asked = command === 'ADD' && ip !== undefined && { runtimeConfig: { ips: [ip] } };
  const ipam = { type: 'host-local', dataDir, ranges };
  const stdin = JSON.stringify({ cniVersion: '1.0.0', name: network, type: 'macvlan', ipam, ...asked });
  return by === 'plexus' ? plexus.call(env, stdin, kill) : execute(env, stdin, kill);
}

/** Executes the Go plugin. @returns undefined where it was killed. */
async function execute(
  env: Readonly<Record<string, string>>,
  stdin: string,
  kill: number,
): Promise<Answer | undefined> {
  const child = spawn(goHostLocal, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const timer = kill > 0 ? setTimeout(() => child.kill('SIGKILL'), kill) : undefined;
  child.stdin.on('error', () => undefined); // it may be killed before it reads
  child.stdin.end(stdin);
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject).once('close', resolve);
  const status = await promise;
  clearTimeout(timer);
  return status === null ? undefined : { failed: status !== 0, stdout };
}

interface Disk {
  /** By owner, in the order of the sets. */
  readonly held: ReadonlyMap<string, readonly string[]>;
  /** Addresses whose file is empty: it was made by a Go plugin that was killed before it wrote. */
  readonly unwritten: readonly string[];
  /** The address that each set gave away last. */
  readonly last: readonly string[];
}

/** What is on disk while nobody changes it. */
async function look(directory: string): Promise<Disk> {
  using _ = await DirectoryLock.acquire(directory);
  const held = new Map<string, string[]>();
  const unwritten: string[] = [];
  const read = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
  for (const name of (await readdir(directory)).filter((each) => !/^(lock|last_reserved_ip\.\d)$/.test(each)).sort()) {
    assert.ok(sets.flat().includes(name), `${name} is not of any range`);
    const owner = (await read(name)).replace('\r\n', ' ');
    if (owner === '') unwritten.push(name);
    else held.set(owner, [...(held.get(owner) ?? []), name]);
  }
  const last = await Promise.all(sets.map((_set, index) => read(`last_reserved_ip.${index}`).catch(() => '')));
  return { held, unwritten, last };
}

/** What a call alone is to be answered with: its addresses, or undefined for a failure. */
function expected({ held, unwritten, last }: Disk, { by, command, ip }: Call): readonly string[] | undefined {
  if (command === 'DEL') return [];
  // What nobody wrote belongs to nobody, but the Go plugin takes the file for a reservation.
  const taken = new Set([...[...held.values()].flat(), ...(by === 'go' ? unwritten : [])]);
  const chosen = sets.map((set, index) => {
    if (ip !== undefined && set.includes(ip)) return taken.has(ip) ? undefined : ip;
    const after = set.indexOf(last[index] ?? '') + 1;
    return [...set.slice(after), ...set.slice(0, after)].find((address) => !taken.has(address));
  });
  const given = chosen.filter((address) => address !== undefined);
  return given.length === sets.length ? given : undefined;
}

const result = z.object({ ips: z.array(z.object({ address: z.string() })) });

/**
 * Notes what an answer says.
 *
 * @param alone What a call that was the only one is to be answered with.
 */
function learn(
  known: Map<string, readonly string[]>,
  { command, owner, by }: Call,
  answer: Answer | undefined,
  alone: { readonly addresses: readonly string[] | undefined } | undefined,
): void {
  if (answer === undefined) {
    known.delete(owner);
    return;
  }
  const { failed, stdout } = answer;
  if (command === 'DEL') assert.equal(failed, false, stdout);
  if (failed) {
    assert.match(stdout, /no IP addresses available|is not available/);
    if (alone !== undefined) assert.equal(alone.addresses, undefined, `${by} refused ${owner}: ${stdout}`);
    return;
  }
  const addresses =
    command === 'DEL' ? [] : result.parse(JSON.parse(stdout)).ips.map(({ address }) => address.replace(/\/\d+$/, ''));
  if (alone !== undefined) assert.deepEqual(addresses, alone.addresses, `${by} ${command} ${owner}`);
  known.set(owner, addresses);
}

/** That those who hold addresses hold what they were told, and those who hold none are told so nowhere. */
function compare({ held }: Disk, known: ReadonlyMap<string, readonly string[]>): void {
  for (const [owner, addresses] of known) {
    assert.deepEqual((held.get(owner) ?? []).toSorted(), addresses.toSorted(), owner);
  }
  for (const [owner, addresses] of held) {
    for (const set of sets) {
      const ofSet = addresses.filter((address) => set.includes(address));
      assert.ok(ofSet.length <= 1, `${owner} holds ${ofSet.join(' and ')} of one set`);
    }
  }
}
