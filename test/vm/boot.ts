import { runInMachine } from './machine.ts';

/**
 * `node test/vm/boot.ts -- COMMAND...` runs a command in the test VM, as root, in the current directory and on the files
 * of this machine. It prints what the command prints and exits with its status, or with 125 when it is the VM that failed.
 */
const [separator, ...command] = process.argv.slice(2);

if (separator !== '--' || command.length === 0) {
  process.stderr.write('usage: node test/vm/boot.ts -- COMMAND...\n');
  process.exitCode = 2;
} else {
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort());
  try {
    process.exitCode = await runInMachine({
      command,
      signal: interrupt.signal,
      onStdout: (chunk) => process.stdout.write(chunk),
      onStderr: (chunk) => process.stderr.write(chunk),
    });
  } catch (thrown) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : thrown}\n`);
    process.exitCode = 125;
  }
}
