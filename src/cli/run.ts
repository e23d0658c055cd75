import { Command } from 'commander';

interface Options {
  readonly filename: readonly string[];
  readonly keep: boolean;
  readonly node: string;
  readonly device: readonly string[];
  readonly webhook: boolean;
}

export function runCommand(): Command {
  return new Command('run')
    .description('try networks and pods on this machine, in namespaces of their own, before they go to a cluster')
    .requiredOption(
      '-f, --filename <file...>',
      'manifests in YAML or JSON: NetworkAttachmentDefinitions, Pods, Namespaces; a directory stands for all in it, - for standard input',
    )
    .option('--device <resource=id...>', 'a made-up device that pods can request, such as intel.com/sriov=vf-1', [])
    .option('--webhook', 'with the webhook: it adds devices to pods, and refuses networks that cannot work', false)
    .option('--keep', 'leave everything up until Ctrl-C, for kubectl and for a look from inside', false)
    .option('--node <name>', "the node's name", 'playground')
    .addHelpText(
      'after',
      `
A cluster of one node is made: a Kubernetes API in memory, a network namespace for the node, the Plexus daemon in it,
and for each pod a sandbox as a container runtime makes them, without containers. The node has the interfaces ens5,
which is its own, ens6 and ens7 for networks to have as master. The default network answers as the Amazon VPC CNI.
Nothing of it touches the machine's own interfaces and routes, and nothing is left in the end.`,
    )
    .action(run);
}

async function run({ filename, keep, node, device, webhook }: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('plexus run makes network namespaces: run it as root');
  const { tryOut } = await import('./run/try-out.ts');
  const { parseDevices } = await import('../playground/devices.ts');
  process.exitCode = await tryOut({ files: filename, keep, nodeName: node, devices: parseDevices(device), webhook });
}
