import { Command } from 'commander';
import {
  type DaemonOptions,
  type OutputOptions,
  overridesOf,
  withDaemonOptions,
  withOutput,
  withTimeout,
} from './options.ts';

interface Options extends DaemonOptions, OutputOptions {
  readonly namespace: string;
  readonly timeout: number;
}

export function attachCommand(): Command {
  const command = new Command('attach')
    .description('attach a network to a pod that runs')
    .argument('<pod>', 'a name, or NAMESPACE/NAME')
    .argument('<network>', '[NAMESPACE/]NAME[@INTERFACE]')
    .option('-n, --namespace <name>', 'of a pod that names none', 'default');
  return withDaemonOptions(withOutput(withTimeout(command)))
    .addHelpText(
      'after',
      `
The network is added to the pod's annotation, as kubectl annotate would, and the daemon of its node follows.`,
    )
    .action(run);
}

async function run(pod: string, network: string, { namespace: ns, timeout, output, ...options }: Options) {
  const { withElement } = await import('../attach/annotation.ts');
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { Client } = await import('../kubernetes/client.ts');
  const { networksOf } = await import('../attach/pod-networks.ts');
  const { accessTo } = await import('./explain/cluster.ts');
  const { changePod, statusesOf } = await import('./change/change.ts');
  const { podNamed } = await import('./change/pod-name.ts');
  const { printChange } = await import('./change/report.ts');

  const config = await readDaemonConfig(options.config, overridesOf(options));
  const { namespace, name } = podNamed(pod, ns);
  const [short = ''] = network.split('@');
  const qualified = short.includes('/') ? short : `${namespace}/${short}`;
  using client = new Client(accessTo(config.kubeconfig));
  const { what, done, statuses } = await changePod(
    {
      edit: (now) => ({
        networks: withElement(networksOf(now), namespace, network),
        what: new Set(statusesOf(now).map((status) => status.interface)),
      }),
      isDone: (all, before) => all.some((status) => status.name === qualified && !before.has(status.interface)),
      isFailure: ({ reason, message }) => reason === 'FailedAddingInterface' && isAbout(message, qualified),
    },
    { client, namespace, name, timeoutMs: timeout },
  );
  const made = statuses.find((status) => status.name === qualified && !what.has(status.interface));
  const { interface: ifName, ips: addresses } = made ?? {};
  const state = done ? 'attached' : 'requested';
  printChange({ pod: `${namespace}/${name}`, interface: ifName, network: qualified, addresses, state }, output);
}

/** Whether a failure that was told is that of a network: others name theirs, too. */
function isAbout(message: string, network: string): boolean {
  const [, other] = /network (\S+?), interface /.exec(message) ?? [];
  return other === undefined || other === network;
}
