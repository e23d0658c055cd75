import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { type DaemonOptions, overridesOf, withDaemonOptions } from './options.ts';

interface Options extends DaemonOptions {
  readonly cniBinDir: string;
  readonly cniConfDir?: string;
  readonly dryRun: boolean;
  readonly wait: boolean;
}

/** The exit status while pods run that Plexus attached: what they need stays until they are gone. */
const notYet = 2;

/** Milliseconds between looks. */
const pause = 2_000;

export function uninstallCommand(): Command {
  const command = new Command('uninstall')
    .description('give this node back to its default network, and remove what plexus install put there')
    .option('--cni-bin-dir <directory>', "the runtime's directory of CNI plugins, as it is seen here", '/opt/cni/bin')
    .option('--cni-conf-dir <directory>', "the runtime's directory of CNI configurations; default: /etc/cni/net.d")
    .option('--wait', 'stay until the last pod that Plexus attached is gone, and release what each leaves', false)
    .option('--dry-run', 'tell each step, and change nothing', false);
  return withDaemonOptions(command)
    .addHelpText(
      'after',
      `
Give it the options that the daemon has. The configuration goes first: from then on pods start with the default network. What
sandboxes hold whose namespaces are gone is released, by the daemon or, where none runs, in its place. The CNI binary goes
last, and only when no sandbox needs it any more. It can be repeated. The exit status is 0 when all is gone, 1 for an error,
2 while pods run that Plexus attached: repeat it when they are gone, or use --wait.`,
    )
    .action(run);
}

async function run({ cniBinDir, cniConfDir, dryRun, wait, ...options }: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error("plexus uninstall writes to the runtime's directories: run it as root");
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { giveBack } = await import('./install/give-back.ts');
  const { printedSteps, Steps } = await import('./install/steps.ts');

  const own = { ...overridesOf(options), ...(cniConfDir !== undefined && { cniConfigDir: cniConfDir }) };
  const config = await readDaemonConfig(options.config, own);
  const steps = printedSteps(dryRun);
  let isDone = await giveBack({ config, binDir: cniBinDir }, steps);
  while (!isDone && wait && !dryRun) {
    await sleep(pause);
    isDone = await giveBack({ config, binDir: cniBinDir }, new Steps(false, () => {}));
  }
  if (!isDone) process.exitCode = notYet;
  else if (!dryRun) steps.note('plexus', 'nothing of it is left on this node but its journal and log');
}
