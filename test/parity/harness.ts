import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonValue } from '../../src/cni/json.ts';
import { type CallStep, nodeOf, type ParityCase, stepsOf } from './case.ts';
import { compare, describeFound, type Found } from './compare.ts';
import { type DifferenceId, isListed, isSeenAs } from './differences.ts';
import { type Outcome, Side } from './side.ts';
import { TwinPool, type Twins } from './twins.ts';

/*
 * Parity: the same calls to the Go plugins and to Plexus, on twin nodes with twin pods, and everything that can be seen
 * after each call compared. What is to be different is listed, with its reason, in differences.ts.
 */

/** Milliseconds until what the kernel does by and by, such as addresses of its own, must be the same on both. */
const settleTimeout = 15_000;
const settleInterval = 100;

/**
 * A test for each case.
 *
 * @param concurrency How many at once. Each pair of nodes begins with the start of a process.
 */
export function testParity(cases: readonly ParityCase[], concurrency = 2): void {
  for (const plugin of new Set(cases.map((each) => each.plugin))) {
    describe(`${plugin}, beside the original`, { concurrency }, () => {
      const pool = new TwinPool();
      after(() => pool[Symbol.asyncDispose]());
      for (const each of cases.filter((candidate) => candidate.plugin === plugin)) {
        test(each.tries, async () => {
          const listed = each.differences ?? [];
          const found = await pool.use(nodeOf(each), (twins) => findDifferences(each, twins));
          const unlisted = found.filter((difference) => !isListed(difference, listed));
          assert.equal(unlisted.length, 0, `Go | Plexus:\n${unlisted.map(describeFound).join('\n')}`);
          const unseen = listed.filter((id) => !found.some((difference) => isSeenAs(id, difference)));
          assert.deepEqual(unseen, [], 'these listed differences are not seen');
        });
      }
    });
  }
}

/** Runs a case on both nodes. @returns What differs, over all steps. */
async function findDifferences(parityCase: ParityCase, twins: Twins): Promise<Found[]> {
  await using go = await Side.prepare(twins.go, parityCase);
  await using plexus = await Side.prepare(twins.plexus, parityCase);
  const listed = parityCase.differences ?? [];
  const found: Found[] = [];
  for (const [index, step] of stepsOf(parityCase).entries()) {
    const [left, right] = await Promise.all([go.take(step), plexus.take(step)]);
    if (!('call' in step) || left === undefined || right === undefined) continue;
    requireMessages(step, [left, right]);
    const label = `${index + 1} ${step.call}`;
    found.push(...compareOutcomes(left, right, label));
    // Once something is wrong, it stays so: there is nothing to wait for.
    const timeout = found.every((each) => isListed(each, listed)) ? settleTimeout : 0;
    found.push(...(await compareSettled(go, plexus, [left.seen, right.seen], label, listed, timeout)));
  }
  return found;
}

function compareOutcomes(go: Outcome, plexus: Outcome, label: string): Found[] {
  const found = compare(go.answer, plexus.answer, label);
  const isToPrint = found.length === 0 && go.message === undefined;
  return isToPrint ? compare(go.printed, plexus.printed, `${label}/printed`) : found;
}

async function compareSettled(
  go: Side,
  plexus: Side,
  first: readonly [JsonValue, JsonValue],
  label: string,
  listed: readonly DifferenceId[],
  timeout: number,
): Promise<Found[]> {
  const deadline = performance.now() + timeout;
  for (let [left, right] = first; ; [left, right] = await Promise.all([go.see(), plexus.see()])) {
    const found = compare(left, right, label);
    const isSettled = found.every((difference) => isListed(difference, listed));
    if (isSettled || performance.now() >= deadline) return found;
    await sleep(settleInterval);
  }
}

/** That one fails and the other does not is a difference; what is no difference must be as the case expects it. */
function requireMessages({ call, error }: CallStep, outcomes: readonly Outcome[]): void {
  const messages = outcomes.flatMap((outcome) => outcome.message ?? []);
  if (error === undefined) {
    assert.notEqual(messages.length, outcomes.length, `${call} failed on both: ${messages.join('\n')}`);
    return;
  }
  assert.notEqual(messages.length, 0, `${call} did not fail with ${error}`);
  for (const message of messages) assert.match(message, error);
}
