import { Command } from 'commander';
import { type DaemonOptions, type OutputOptions, overridesOf, withDaemonOptions, withOutput } from './options.ts';

type Options = DaemonOptions & OutputOptions;

export function devicesCommand(): Command {
  const command = new Command('devices').description(
    'tell which devices of this node are which resource, and why others are left out; changes nothing',
  );
  return withDaemonOptions(withOutput(command))
    .addHelpText(
      'after',
      '\nGive it the options that the daemon has, which need not run. The exit status is 0 when no resource of the configuration is left out.',
    )
    .action(run);
}

async function run({ output, ...options }: Options): Promise<void> {
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { lookAtDevices } = await import('./devices/look.ts');
  const { devicesDocument, renderDevices } = await import('./devices/report.ts');
  const { print } = await import('./output.ts');

  const report = await lookAtDevices(await readDaemonConfig(options.config, overridesOf(options)));
  print(output, 'DeviceList', devicesDocument(report), () => renderDevices(report, output));
  process.exitCode = report.problems.length === 0 ? 0 : 1;
}
