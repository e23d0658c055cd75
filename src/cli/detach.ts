import { Command } from 'commander';
import type { ChangeRow } from './change/report.ts';
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
  readonly now: boolean;
  readonly timeout: number;
}

export function detachCommand(): Command {
  const command = new Command('detach')
    .description('detach a network from a pod that runs')
    .argument('<pod>', 'a name, or NAMESPACE/NAME')
    .argument('<interface-or-network>', 'the name of the interface in the pod, or of the network')
    .option('-n, --namespace <name>', 'of a pod that names none', 'default')
    .option('--now', "on the pod's node, whatever the annotation says: the daemon is asked, not the cluster", false);
  return withDaemonOptions(withOutput(withTimeout(command)))
    .addHelpText(
      'after',
      `
The network is taken out of the pod's annotation, as kubectl annotate would, and the daemon of its node follows. With --now
the annotation stays, and the daemon does not attach the network again until the annotation has ceased to ask for it: for a
cluster that cannot be reached. That is done as root on the node, with the options that its daemon has.`,
    )
    .action(run);
}

async function run(pod: string, target: string, { namespace: ns, now, timeout, output, ...options }: Options) {
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { podNamed } = await import('./change/pod-name.ts');
  const { printChange } = await import('./change/report.ts');

  const config = await readDaemonConfig(options.config, overridesOf(options));
  const which = podNamed(pod, ns);
  const row = now
    ? await (await import('./change/held.ts')).detachNow(config, which, target)
    : await detachByAnnotation(config.kubeconfig, which, target, timeout);
  printChange(row, output);
}

async function detachByAnnotation(
  kubeconfig: string | undefined,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  target: string,
  timeoutMs: number,
): Promise<ChangeRow> {
  const { withoutElement } = await import('../attach/annotation.ts');
  const { Client } = await import('../kubernetes/client.ts');
  const { networksOf } = await import('../attach/pod-networks.ts');
  const { accessTo } = await import('./explain/cluster.ts');
  const { changePod, statusesOf } = await import('./change/change.ts');

  using client = new Client(accessTo(kubeconfig));
  const { what, done } = await changePod(
    {
      edit: (pod) => {
        const what = withoutElement(networksOf(pod), namespace, statusesOf(pod), target);
        return { networks: what.networks, what };
      },
      isDone: (statuses, { ifName }) => statuses.every((status) => status.interface !== ifName),
      isFailure: ({ reason, message }, { network }) =>
        reason === 'FailedRemovingInterface' && message.includes(`network ${network}, `),
    },
    { client, namespace, name, timeoutMs },
  );
  const { ifName, network } = what;
  return { pod: `${namespace}/${name}`, interface: ifName, network, state: done ? 'detached' : 'requested' };
}
