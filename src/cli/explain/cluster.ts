import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Access } from '../../kubernetes/access.ts';
import { Cluster } from '../../kubernetes/cluster.ts';
import type { KubernetesObject } from '../../playground/api/object.ts';
import { startApi } from '../../playground/api/server.ts';

/** Milliseconds in which the API server must have listed pods and networks. */
const listMs = 10_000;

/** A cluster to ask, and what it stands on. */
export interface OpenCluster extends AsyncDisposable {
  readonly cluster: Cluster;
}

/**
 * The cluster that kubectl would ask.
 *
 * @param kubeconfig A file; undefined for what the environment names, as kubectl's rules are.
 * @throws {Error} when there is nothing to know it by.
 */
export function openCluster(kubeconfig: string | undefined): OpenCluster {
  const cluster = clusterAt(accessTo(kubeconfig));
  return { cluster, [Symbol.asyncDispose]: () => cluster.close() };
}

/** How kubectl would reach the cluster. @see openCluster */
export function accessTo(kubeconfig: string | undefined): Access {
  const [file, ...more] = (kubeconfig ?? process.env['KUBECONFIG'] ?? '').split(':').filter((path) => path !== '');
  if (more.length > 0) throw new Error('KUBECONFIG names several files: give the one with the cluster by --kubeconfig');
  if (file !== undefined) return Access.kubeconfig(file);
  if (process.env['KUBERNETES_SERVICE_HOST']) return Access.inCluster();
  return Access.kubeconfig(join(homedir(), '.kube/config'));
}

/** A cluster of these objects alone, in memory. */
export async function clusterOf(objects: readonly KubernetesObject[]): Promise<OpenCluster> {
  const api = await startApi({ objects });
  const load = () => Promise.resolve({ server: new URL(api.url), tls: {}, headers: {} });
  const cluster = clusterAt(new Access({ origin: 'the manifests', load }));
  return {
    cluster,
    async [Symbol.asyncDispose]() {
      await cluster.close();
      await api.close();
    },
  };
}

/** Pods are asked for one by one: those of no node are watched. */
const clusterAt = (access: Access): Cluster =>
  new Cluster({ access, nodeName: 'plexus-explain', log: pino({ level: 'silent' }) });

/**
 * The networks of a cluster, as manifests.
 *
 * @throws {Error} saying why they cannot be listed.
 */
export async function networksOf(cluster: Cluster): Promise<KubernetesObject[]> {
  await Promise.race([cluster.ready, sleep(listMs, undefined, { ref: false })]);
  const problems = cluster.problems();
  if (problems.length > 0) throw new Error(`the networks of the cluster cannot be listed: ${problems.join('; ')}`);
  return cluster.networks().map(({ metadata: { name, namespace, annotations }, spec }) => ({
    apiVersion: 'k8s.cni.cncf.io/v1',
    kind: 'NetworkAttachmentDefinition',
    metadata: { name, namespace, annotations },
    spec: { config: spec.config },
  }));
}
