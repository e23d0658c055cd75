import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { splitPath } from '../../cni/invocation.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { pluginRoot } from '../../daemon/root.ts';
import { defaultKubeletDir } from '../../kubelet/pod-devices.ts';
import { Access } from '../../kubernetes/access.ts';
import { Cluster } from '../../kubernetes/cluster.ts';
import { builtinPlugins } from '../../plugins/builtin.ts';
import { readManifests } from '../manifests.ts';
import { checkDevices } from './devices.ts';
import { type Finding, fine, lacking, messageOf } from './finding.ts';
import { checkFirewall } from './firewall.ts';
import { checkNamedDevices } from './named-devices.ts';
import { definitionsIn, definitionsOf, readDefinitions } from './networks.ts';
import { checkDaemon, checkDirectories } from './node.ts';
import { checkInterfaces, checkKinds, checkPlugins, pluginUse } from './plugins.ts';
import { checkResources } from './resources.ts';
import { checkDefaultNetwork, checkNamedNetworks, checkRuntime } from './runtime.ts';
import { checkDownChoice, checkSpool } from './spool.ts';
import { checkTraffic } from './traffic.ts';
import { checkTranslation } from './translation.ts';

/** Milliseconds in which the API server must have listed pods and networks. */
const listMs = 10_000;

/**
 * Looks at all that attaching a pod on this node needs. Nothing is changed, but that the kernel may load modules that it is
 * asked for, as it would for a pod.
 *
 * @param files Manifests to take networks from, instead of the cluster.
 */
export async function examine(config: DaemonConfig, files: readonly string[] | undefined): Promise<Finding[]> {
  const isRoot = process.getuid?.() === 0;
  const findings: Finding[] = [
    isRoot
      ? fine('user', 'root')
      : lacking('user', `user ${process.getuid?.()}`, 'run this as root: the rest cannot be known'),
  ];
  if (!isRoot) return findings;

  await using stack = new AsyncDisposableStack();
  const cluster = config.cluster && files === undefined ? await openCluster(config, findings) : undefined;
  if (cluster !== undefined) stack.use(cluster);
  const runtime = await checkRuntime(config);
  findings.push(...runtime.findings);

  const networks = [];
  if (runtime.settings !== undefined) {
    const { finding, network } = await checkDefaultNetwork(runtime.settings, cluster);
    findings.push(finding);
    if (network !== undefined) networks.push(network);
    const named = await checkNamedNetworks(runtime.settings, cluster);
    findings.push(...named.findings);
    networks.push(...named.networks);
  }
  const definitions =
    files !== undefined ? definitionsIn(await readManifests(files)) : cluster ? definitionsOf(cluster) : [];
  const read = await readDefinitions(definitions, runtime.settings?.confDir ?? '/etc/cni/multus/net.d');
  findings.push(...read.findings);
  networks.push(...read.networks);

  const use = pluginUse(networks);
  const executed = new Set(config.executedPlugins);
  const builtin = new Set(builtinPlugins.map(({ type }) => type).filter((type) => !executed.has(type)));
  const root = await pluginRoot(config.chrootDir).catch((error: unknown) => {
    findings.push(lacking('chrootDir', messageOf(error), 'the daemon does not start without it'));
    return undefined;
  });
  findings.push(
    ...(await checkPlugins(use, builtin, splitPath(runtime.settings?.binDir ?? config.binDir), root)),
    ...(await checkKinds(use, builtin)),
    ...(await checkTraffic(use, builtin)),
    ...(await checkInterfaces(networks)),
    ...(await checkNamedDevices(networks)),
    ...(await checkTranslation(networks, builtin)),
    ...(await checkFirewall(networks, builtin)),
    ...(await checkDevices(definitions, runtime.settings?.kubeletDir ?? defaultKubeletDir)),
    ...(await checkResources(config)),
    ...(await checkDirectories(config)),
    ...(await checkSpool(config, runtime.config)),
    ...(await checkDownChoice(config, runtime.config, cluster, root)),
    await checkDaemon(config.socket, runtime.config),
  );
  return findings;
}

/** How the daemon reaches it. */
async function accessOf({ kubeconfig, nodeName, perNodeCertificate }: DaemonConfig): Promise<Access | undefined> {
  if (perNodeCertificate !== undefined) {
    const { bootstrapKubeconfig, certDir } = perNodeCertificate;
    const { keptCertificate } = await import('../../kubernetes/certificate/kept.ts');
    return keptCertificate({ bootstrap: Access.kubeconfig(bootstrapKubeconfig), certDir, nodeName });
  }
  if (kubeconfig !== undefined) return Access.kubeconfig(kubeconfig);
  return process.env['KUBERNETES_SERVICE_HOST'] ? Access.inCluster() : undefined;
}

/** @returns undefined when there is no way to it; what is known of it, else. */
async function openCluster(config: DaemonConfig, findings: Finding[]): Promise<Cluster | undefined> {
  const { nodeName } = config;
  const access = await accessOf(config);
  if (access === undefined) {
    const remedy = 'give --kubeconfig FILE; or -f FILE... for networks from manifests; or --no-cluster';
    findings.push(lacking('Kubernetes API', 'no kubeconfig was given, and this is no pod', remedy));
    return undefined;
  }
  const cluster = new Cluster({ access, nodeName, log: pino({ level: 'silent' }) });
  const remedy = 'see that the server can be reached, and that the credentials may list pods and networks';
  try {
    await Promise.race([cluster.ready, sleep(listMs, undefined, { ref: false })]);
    const problems = cluster.problems();
    findings.push(
      problems.length === 0
        ? fine('Kubernetes API', `${access.origin}; ${cluster.pods().length} pods on node ${nodeName}`)
        : lacking('Kubernetes API', problems.join('; '), remedy),
    );
  } catch (error) {
    findings.push(lacking('Kubernetes API', messageOf(error), remedy));
  }
  return cluster;
}
