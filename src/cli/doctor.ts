import { Command } from 'commander';
import { type DaemonOptions, overridesOf, withDaemonOptions } from './options.ts';

interface Options extends DaemonOptions {
  readonly filename?: readonly string[];
}

export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('tell what this node lacks to attach pods, and what to do about it; changes nothing')
    .option('-f, --filename <file...>', 'take the networks from these manifests, instead of from the cluster');
  return withDaemonOptions(command)
    .addHelpText(
      'after',
      '\nGive it the options that the daemon has. The exit status is 0 when nothing is lacking, 1 otherwise.',
    )
    .action(run);
}

async function run({ filename, ...options }: Options): Promise<void> {
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { examine } = await import('./doctor/examine.ts');
  const { renderFindings } = await import('./doctor/finding.ts');
  const findings = await examine(await readDaemonConfig(options.config, overridesOf(options)), filename);
  process.stdout.write(renderFindings(findings));
  process.exitCode = findings.every(({ isFine }) => isFine) ? 0 : 1;
}
