import { basename } from 'node:path';
import { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { attachCommand } from './attach.ts';
import { daemonCommand } from './daemon.ts';
import { detachCommand } from './detach.ts';
import { devicesCommand } from './devices.ts';
import { doctorCommand } from './doctor.ts';
import { explainCommand } from './explain.ts';
import { gcCommand } from './gc.ts';
import { runCommand } from './run.ts';
import { statusCommand } from './status.ts';
import { webhookCommand } from './webhook.ts';

/* What a command needs beyond its options is loaded when it is called: the daemon stays small, and the others quick. */

const isKubectlPlugin = basename(process.argv[1] ?? '') === 'kubectl-plexus';

const program = new Command(isKubectlPlugin ? 'kubectl plexus' : 'plexus')
  .description(manifest.description)
  .version(manifest.version, '--version')
  .showHelpAfterError('(plexus --help lists commands and options)')
  .addCommand(attachCommand())
  .addCommand(daemonCommand())
  .addCommand(detachCommand())
  .addCommand(devicesCommand())
  .addCommand(doctorCommand())
  .addCommand(explainCommand())
  .addCommand(gcCommand())
  .addCommand(runCommand())
  .addCommand(statusCommand())
  .addCommand(webhookCommand())
  .addCommand(
    new Command('version')
      .description('print the version')
      .action(() => console.log(`plexus ${manifest.version}, node ${process.version}`)),
  );
for (const command of program.commands) command.copyInheritedSettings(program);

program.parseAsync().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  // CNI errors say there what to do, or what was behind it.
  const own = error instanceof Error && 'details' in error ? error.details : '';
  const details = typeof own === 'string' && own !== '' ? `; ${own}` : '';
  process.stderr.write(`plexus: ${message}${details}\n`);
  process.exitCode = 1;
});
