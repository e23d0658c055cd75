import { Command } from 'commander';
import type { DaemonConfig } from '../daemon/config.ts';
import type { Entry } from '../journal/entry.ts';
import type { Collected } from './gc/report.ts';
import { type DaemonOptions, type OutputOptions, overridesOf, withDaemonOptions, withOutput } from './options.ts';

interface Options extends DaemonOptions, OutputOptions {
  readonly dryRun: boolean;
}

export function gcCommand(): Command {
  const command = new Command('gc')
    .description('release what sandboxes hold whose network namespaces are gone, by the journal of this node')
    .option('--dry-run', 'tell it, and change nothing', false);
  return withDaemonOptions(withOutput(command))
    .addHelpText(
      'after',
      `
Give it the options that the daemon has, and run it where that runs. The daemon is asked to release; where none runs, it is
done in its place. Addresses that host-local keeps for nobody that the journal knows are told and left alone: they may be of
pods that another program attached. The exit status is 1 when something is still held.`,
    )
    .action(run);
}

async function run({ dryRun, output, ...options }: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('plexus gc looks for the namespaces of pods: run it as root');
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { containersOf, readSandboxes } = await import('./sandboxes.ts');
  const { isGone, strayAddresses } = await import('./gc/stale.ts');
  const { gcDocument, renderGc } = await import('./gc/report.ts');
  const { print } = await import('./output.ts');

  const config = await readDaemonConfig(options.config, overridesOf(options));
  const { entries, unreadable } = await readSandboxes(config);
  const stale: Entry[] = [];
  for (const entry of entries) if (await isGone(entry)) stale.push(entry);
  const addresses = await strayAddresses(entries, async () => containersOf(await readSandboxes(config)));
  const sandboxes = dryRun ? stale.map((entry) => ({ entry, state: 'stale' as const })) : await release(stale, config);
  const report = { sandboxes, addresses, unreadable };
  print(output, 'StaleSandboxList', gcDocument(report), () => renderGc(report, output));
  const isHeld = unreadable.length > 0 || sandboxes.some(({ state }) => state === 'held');
  process.exitCode = isHeld ? 1 : 0;
}

async function release(stale: readonly Entry[], config: DaemonConfig): Promise<Collected[]> {
  if (stale.length === 0) return [];
  const { openReleaser } = await import('./gc/release.ts');
  await using releaser = await openReleaser(config);
  const collected: Collected[] = [];
  for (const entry of stale) {
    try {
      await releaser.release(entry);
      collected.push({ entry, state: 'released' });
    } catch (error) {
      collected.push({ entry, state: 'held', message: error instanceof Error ? error.message : String(error) });
    }
  }
  return collected;
}
