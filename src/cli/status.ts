import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { type DaemonOptions, type OutputOptions, overridesOf, withDaemonOptions, withOutput } from './options.ts';

/** Milliseconds in which most calls of a runtime end. */
const momentMs = 500;

type Options = DaemonOptions & OutputOptions;

export function statusCommand(): Command {
  const command = new Command('status')
    .description(
      "tell what is attached on this node, by the daemon's journal, and what of it is not there; changes nothing",
    )
    .argument('[sandbox]', 'NAMESPACE/POD, or the beginning of a container ID; default: all');
  return withDaemonOptions(withOutput(command))
    .addHelpText(
      'after',
      '\nGive it the options that the daemon has, which need not run. The exit status is 0 when all is as the journal has it.',
    )
    .action(run);
}

async function run(wanted: string | undefined, { output, ...options }: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('plexus status looks into the namespaces of pods: run it as root');
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { readSandboxes } = await import('./sandboxes.ts');
  const { readSpool } = await import('./spooled.ts');
  const { settledStatus } = await import('./status/settled.ts');
  const { isAsItShouldBe, renderStatus, statusDocument } = await import('./status/report.ts');
  const { print } = await import('./output.ts');

  const config = await readDaemonConfig(options.config, overridesOf(options));
  const settled = await settledStatus(
    () => readSandboxes(config, wanted),
    () => sleep(momentMs),
  );
  const report = { ...settled, spool: await readSpool(config, wanted) };
  const { attachments, unreadable, spool } = report;
  if (wanted !== undefined && [...attachments, ...unreadable, ...spool.waiting].length === 0) {
    throw new Error(`nothing is attached on this node for ${wanted}, by the journal in ${config.stateDir}`);
  }
  print(output, 'AttachmentList', statusDocument(report), () => renderStatus(report, output));
  process.exitCode = isAsItShouldBe(report) ? 0 : 1;
}
