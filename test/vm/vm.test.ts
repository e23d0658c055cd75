import assert from 'node:assert/strict';
import { glob } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { goPlugins } from '../../tools/debian.ts';
import { type GuestEvent, type GuestResult, guestEvent } from './guest-event.ts';
import { runInMachine } from './machine.ts';

/** Milliseconds for one test in the VM: with it a test that hangs is named, which the limit on all of them cannot do. */
const testLimit = 120_000;
/** Milliseconds for all of them. */
const runLimit = 1_080_000;

/** A network card that leads nowhere: hardware for those who want some. Its driver is loaded by whoever does. */
const card = ['-netdev', 'hubport,id=card,hubid=0', '-device', 'virtio-net-pci,netdev=card,romfile='];

/** Two cards of the one kind that QEMU has with virtual functions, and that lead nowhere. The first is 0000:01:00.0. */
const sriovCards = [1, 2].flatMap((number) => [
  ...['-device', `pcie-root-port,id=slot${number},slot=${number}`],
  ...['-netdev', `hubport,id=sriov${number},hubid=${number}`],
  ...['-device', `igb,bus=slot${number},netdev=sriov${number},romfile=`],
]);

interface GuestTest extends GuestResult {
  readonly children: readonly GuestTest[];
}

test('in the test VM', async (t) => {
  const files = await Array.fromAsync(glob(join(import.meta.dirname, 'guest/*.test.ts')));
  assert.ok(files.length > 0);
  await goPlugins('1.9'); // which tests in there compare with, and could not get
  const runner = ['--test', '--test-concurrency=2', `--test-timeout=${testLimit}`];
  const reporter = join(import.meta.dirname, 'reporter.ts');
  const events = new PassThrough();
  const run = runInMachine({
    command: ['node', ...runner, `--test-reporter=${reporter}`, ...files.toSorted()],
    onStdout: (chunk) => events.write(chunk),
    onStderr: (chunk) => process.stderr.write(chunk),
    runLimit,
    devices: [...card, ...sriovCards],
  }).finally(() => events.end());
  // A machine that fails does so after everything that it said before is reported.
  const [seen, end] = await Promise.allSettled([follow(t, events), run]);
  if (end.status === 'rejected') throw end.reason;
  if (seen.status === 'rejected') throw seen.reason;
  for (const file of files) assert.ok(seen.value.has(file), `${file} ran no test in the VM`);
  assert.equal(end.value, 0, 'node --test failed in the VM');
});

/**
 * Reports what happens in the VM as subtests, as it comes.
 *
 * @returns The files of which something was reported.
 */
async function follow(t: TestContext, events: PassThrough): Promise<Set<string>> {
  const files = new Set<string>();
  /** Those that are part of a test still to come, by their nesting. */
  const pending: GuestTest[][] = [];
  for await (const line of createInterface(events)) {
    const event = parse(line);
    if (event.type === 'output') {
      process.stdout.write(event.text);
      continue;
    }
    const { nesting, file } = event;
    const guestTest = { ...event, children: pending[nesting + 1] ?? [] };
    pending[nesting + 1] = [];
    files.add(file);
    if (nesting === 0) await report(t, guestTest);
    else pending[nesting] = [...(pending[nesting] ?? []), guestTest];
  }
  return files;
}

/** What is no event was printed by the runner itself, past its reporter. */
function parse(line: string): GuestEvent {
  try {
    return guestEvent.parse(JSON.parse(line));
  } catch {
    return { type: 'output', text: `${line}\n` };
  }
}

async function report(t: TestContext, { name, failure, skipped, children }: GuestTest): Promise<void> {
  await t.test(name, async (t) => {
    for (const child of children) await report(t, child);
    if (skipped !== undefined) throw new GuestFailure(`skipped in the VM: ${skipped}`);
    if (failure !== undefined && !children.some((child) => child.failure !== undefined))
      throw new GuestFailure(failure);
  });
}

/** A failure in the VM, shown with the stack it had there. */
class GuestFailure extends Error {
  constructor(text: string) {
    super(text.split('\n')[0]);
    this.stack = text;
  }
}
