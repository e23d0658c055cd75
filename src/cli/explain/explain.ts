import type { Settings } from '../../attach/settings.ts';
import { splitPath } from '../../cni/invocation.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import type { Pod } from '../../kubernetes/schemas.ts';
import type { KubernetesObject } from '../../playground/api/object.ts';
import { builtinPlugins } from '../../plugins/builtin.ts';
import { checkInterfaces, checkPlugins, pluginUse } from '../doctor/plugins.ts';
import { checkRuntime } from '../doctor/runtime.ts';
import { readManifests } from '../manifests.ts';
import { clusterOf, networksOf, openCluster } from './cluster.ts';
import { neededDevices } from './devices.ts';
import { explainNetwork } from './network.ts';
import { isUnknown, type PlannedInterface, planPod, settingsAnywhere } from './plan.ts';
import type { ExplainedInterface, ExplainedPod } from './report.ts';

export interface ExplainRequest {
  readonly config: DaemonConfig;
  /** Manifests to take pods and networks from; undefined for the cluster. */
  readonly files: readonly string[] | undefined;
  /** Pods to explain, as `name` or `namespace/name`; where there are none, all of the manifests. */
  readonly pods: readonly string[];
  /** Of pods that name none. */
  readonly namespace: string;
}

/**
 * Works out what pods would get, and all that is wrong with it. Nothing is changed, neither in the cluster nor on this
 * machine. Where this is a node that a runtime calls Plexus on, its default network and interfaces are looked at as well.
 *
 * @throws {Error} when a pod or a manifest cannot be read.
 */
export async function explain({ config, files, pods, namespace }: ExplainRequest): Promise<ExplainedPod[]> {
  const objects = files === undefined ? undefined : await objectsOf(files, namespace, config.kubeconfig);
  await using open = objects === undefined ? openCluster(config.kubeconfig) : await clusterOf(objects);
  const wanted = pods.length > 0 ? pods : (objects ?? []).filter(({ kind }) => kind === 'Pod').map(nameOf);
  if (wanted.length === 0) throw new Error('there is no pod to explain: name one, or give a manifest of one');
  const { settings } = await checkRuntime(config);
  const explained: ExplainedPod[] = [];
  for (const each of wanted) {
    const [name = '', own = namespace] = each.split('/').toReversed();
    explained.push(await explainPod(await open.cluster.pod(own, name), open.cluster, settings, config));
  }
  return explained;
}

/** What manifests hold and, where a cluster is named, its networks that they do not have. */
async function objectsOf(
  files: readonly string[],
  namespace: string,
  kubeconfig: string | undefined,
): Promise<KubernetesObject[]> {
  const objects = (await readManifests(files)).map((object) => inNamespace(object, namespace));
  if (kubeconfig === undefined) return objects;
  await using open = openCluster(kubeconfig);
  const own = new Set(objects.filter(({ kind }) => kind === 'NetworkAttachmentDefinition').map(nameOf));
  return [...objects, ...(await networksOf(open.cluster)).filter((network) => !own.has(nameOf(network)))];
}

function inNamespace(object: KubernetesObject, namespace: string): KubernetesObject {
  const isNamespaced = object.kind === 'Pod' || object.kind === 'NetworkAttachmentDefinition';
  return isNamespaced ? { ...object, metadata: { namespace, ...object.metadata } } : object;
}

const nameOf = ({ metadata }: KubernetesObject): string => `${metadata.namespace}/${metadata.name}`;

async function explainPod(
  pod: Pod,
  cluster: Cluster,
  settings: Settings | undefined,
  config: DaemonConfig,
): Promise<ExplainedPod> {
  const { interfaces, problems } = await planPod(pod, cluster, settings ?? settingsAnywhere(config.overlay));
  const executed = new Set(config.executedPlugins);
  const builtin = new Set(builtinPlugins.map(({ type }) => type).filter((type) => !executed.has(type)));
  const path = settings && splitPath(settings.binDir);
  const devices = await neededDevices(pod, interfaces, cluster);
  return {
    pod: `${pod.metadata.namespace}/${pod.metadata.name}`,
    devices,
    interfaces: await Promise.all(interfaces.map((each) => explainInterface(each, builtin, path))),
    problems: [...problems, ...devices.flatMap(({ problem }) => problem ?? [])],
  };
}

/** @param path Where this node has executed plugins; undefined where this is no node. */
async function explainInterface(
  planned: PlannedInterface,
  builtin: ReadonlySet<string>,
  path: readonly string[] | undefined,
): Promise<ExplainedInterface> {
  const { ready } = planned;
  if (ready === undefined || isUnknown(planned)) return { ...planned, explained: undefined };
  const explained = explainNetwork(ready, builtin);
  const networks = [{ name: planned.network, list: ready.list }];
  const findings =
    path === undefined
      ? []
      : [...(await checkPlugins(pluginUse(networks), builtin, path)), ...(await checkInterfaces(networks))];
  const lacking = findings.filter(({ isFine }) => !isFine).map(({ text }) => text);
  return { ...planned, explained, problems: [...planned.problems, ...explained.problems, ...lacking] };
}
