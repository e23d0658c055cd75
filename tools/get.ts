import { commands, ensureCommands, goPlugins, isCommand, staticBusybox } from './debian.ts';
import { debianKernel } from './kernel.ts';

/** `node tools/get.ts NAME...` gets what is missing of these: commands for this machine, and packages for this repository. */
const unpackings: ReadonlyMap<string, () => Promise<unknown>> = new Map<string, () => Promise<unknown>>([
  ['busybox-static', staticBusybox],
  ['go-plugins-1.1', () => goPlugins('1.1')],
  ['go-plugins-1.9', () => goPlugins('1.9')],
  ['kernel', debianKernel],
]);

const names = process.argv.slice(2);
const unknown = names.filter((name) => !isCommand(name) && !unpackings.has(name));

if (names.length === 0 || unknown.length > 0) {
  const known = [...commands, ...unpackings.keys()].join(' ');
  process.stderr.write(`unknown: ${unknown.join(' ') || 'no name given'}\nknown: ${known}\n`);
  process.exitCode = 2;
} else {
  try {
    await ensureCommands(names.filter(isCommand));
    for (const name of names) await unpackings.get(name)?.();
  } catch (thrown) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : thrown}\n`);
    process.exitCode = 1;
  }
}
