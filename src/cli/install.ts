import { Command } from 'commander';
import { type DaemonOptions, overridesOf, withDaemonOptions } from './options.ts';

interface Options extends DaemonOptions {
  readonly cniBinDir: string;
  readonly cniConfDir?: string;
  readonly from?: string;
  readonly plugins: boolean;
  readonly dryRun: boolean;
  readonly adoptMultus: boolean;
  readonly multusDir: string;
}

export function installCommand(): Command {
  const command = new Command('install')
    .description('put the CNI binary and the CNI configuration of Plexus on this node')
    .option('--cni-bin-dir <directory>', "the runtime's directory of CNI plugins, as it is seen here", '/opt/cni/bin')
    .option('--cni-conf-dir <directory>', "the runtime's directory of CNI configurations; default: /etc/cni/net.d")
    .option('--from <file>', 'the CNI binary; default: the one beside this program')
    .option('--plugins', 'link the names of built-in plugins to it as well, where no other program has them', false)
    .option('--adopt-multus', 'take over the pods that Multus attached, and its place', false)
    .option('--multus-dir <directory>', "Multus' cniDir", '/var/lib/cni/multus')
    .option('--dry-run', 'tell each step, and change nothing', false);
  return withDaemonOptions(command)
    .addHelpText(
      'after',
      `
Give it the options that the daemon has. It can be repeated: what is there already is left as it is. The binary comes first
and the configuration last, so that the runtime is never told of what is not there. With --adopt-multus no daemon may run;
what Multus wrote stays, and Multus' configuration and binaries are kept under their names with the ending .before-plexus.
The exit status is 0 when all is as it is to be, 1 otherwise.`,
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const { cniBinDir, cniConfDir, from, plugins, dryRun, adoptMultus, multusDir, ...daemonOptions } = options;
  if (process.getuid?.() !== 0) throw new Error("plexus install writes to the runtime's directories: run it as root");
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { uninstalledFile } = await import('../daemon/cni-config/uninstalled.ts');
  const { writeConfiguration } = await import('./install/configuration.ts');
  const { linkPlugins, removeSynced } = await import('./install/plugins.ts');
  const { installShim, statIfThere } = await import('./install/shim.ts');
  const { printedSteps } = await import('./install/steps.ts');

  const own = { ...overridesOf(daemonOptions), ...(cniConfDir !== undefined && { cniConfigDir: cniConfDir }) };
  const config = await readDaemonConfig(daemonOptions.config, own);
  const steps = printedSteps(dryRun);
  await installShim({ binDir: cniBinDir, from, socket: config.socket }, steps);
  if (plugins) await linkPlugins(cniBinDir, steps);
  const uninstalled = uninstalledFile(config.stateDir);
  if (await statIfThere(uninstalled)) {
    await steps.take(uninstalled, 'removed', () => removeSynced(uninstalled, config.stateDir));
  }
  if (!adoptMultus) {
    await writeConfiguration(config, steps);
    return;
  }
  const { takeOver } = await import('./install/multus.ts');
  process.exitCode = (await takeOver({ config, binDir: cniBinDir, multusDir }, steps)) ? 0 : 1;
}
