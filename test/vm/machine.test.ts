import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MachineError, type Run, runInMachine } from './machine.ts';

/** Runs a script for sh(1) in the VM. */
async function runScript(script: string, limits: Partial<Run> = {}) {
  const printed: { out: string; err: string } = { out: '', err: '' };
  const status = await runInMachine({
    command: ['sh', '-c', script],
    onStdout: (chunk) => (printed.out += chunk),
    onStderr: (chunk) => (printed.err += chunk),
    ...limits,
  });
  return { status, ...printed };
}

async function fileWith(t: TestContext, content: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'plx-vm-test-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'a file');
  await writeFile(file, content);
  return file;
}

test('a command in the VM prints and ends as it would here, whatever it leaves running', async () => {
  const script = "printf 'it''s out'; printf err >&2; printf dev >/dev/stderr; sleep infinity & exit 7";
  assert.deepEqual(await runScript(script), { status: 7, out: 'its out', err: 'errdev' });
});

test('the VM reads the files of the host and cannot change them', async (t) => {
  const file = await fileWith(t, 'from the host');
  const { status, out } = await runScript(`cat '${file}'; printf changed > '${file}'; printf ' '; cat '${file}'`);
  assert.equal(status, 0);
  assert.equal(out, 'from the host changed');
  assert.equal(await readFile(file, 'utf8'), 'from the host');
});

test('a VM whose command hangs is ended, and says so', async () => {
  await assert.rejects(runScript('echo before; sleep infinity', { runLimit: 1000 }), (thrown) => {
    assert.ok(thrown instanceof MachineError);
    assert.match(thrown.message, /^the test VM did not end its command within 1 s; its last lines:\n/);
    return true;
  });
});

test('a VM that never starts is ended, and says so', async () => {
  await assert.rejects(runScript('true', { bootLimit: 1 }), {
    name: 'MachineError',
    message: /^the test VM did not start its command within 0.001 s/,
  });
});

test('a kernel that panics is told with its last words', async () => {
  await assert.rejects(runScript('echo c > /proc/sysrq-trigger; sleep infinity'), {
    name: 'MachineError',
    message: /^the test VM ended before its command did; its last lines:\n(.*\n)*.*Kernel panic - not syncing: sysrq/,
  });
});

test('a QEMU that refuses to start is told with what it complained about', async () => {
  await assert.rejects(runScript('true', { devices: ['-device', 'no-such-device'] }), {
    name: 'MachineError',
    message: /no-such-device/,
  });
});
