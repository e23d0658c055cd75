import { Command } from 'commander';
import { type DaemonOptions, type OutputOptions, overridesOf, withDaemonOptions, withOutput } from './options.ts';

interface Options extends DaemonOptions, OutputOptions {
  readonly filename?: readonly string[];
  readonly namespace: string;
}

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('tell each interface that a pod would get, in order, and all that is wrong; changes nothing')
    .argument('[pod...]', 'a name, or NAMESPACE/NAME; default: all pods of the manifests')
    .option('-f, --filename <file...>', 'take pods and networks from these manifests, instead of from the cluster')
    .option('-n, --namespace <name>', 'of pods and networks that name none', 'default');
  return withDaemonOptions(withOutput(command))
    .addHelpText(
      'after',
      `
The cluster is the one that kubectl asks: --kubeconfig, or KUBECONFIG, or ~/.kube/config. With -f and --kubeconfig, networks
that the manifests do not have are looked for in the cluster. On a node, with the options of its daemon, the default network
and the node's interfaces are looked at, too. The exit status is 0 when no problem was found.`,
    )
    .action(run);
}

async function run(pods: readonly string[], options: Options): Promise<void> {
  const { filename: files, namespace, output, ...daemon } = options;
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { explain } = await import('./explain/explain.ts');
  const { explainDocument, problemsOf, renderExplained } = await import('./explain/report.ts');
  const { print } = await import('./output.ts');

  const config = await readDaemonConfig(daemon.config, overridesOf(daemon));
  const explained = await explain({ config, files, pods, namespace });
  print(output, 'PodPlanList', explainDocument(explained), () => renderExplained(explained, output));
  process.exitCode = explained.every((pod) => problemsOf(pod).length === 0) ? 0 : 1;
}
