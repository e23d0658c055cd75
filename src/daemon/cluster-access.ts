import { Access } from '../kubernetes/access.ts';
import type { DaemonConfig } from './config.ts';
import type { Logger } from './log.ts';

/**
 * Looks whether anything says how to reach the API server, before anything is made.
 *
 * @throws {Error} when nothing does, though there is to be a cluster.
 */
export function requireClusterAccess({ cluster, kubeconfig, perNodeCertificate }: DaemonConfig): void {
  if (!cluster || kubeconfig !== undefined || perNodeCertificate !== undefined) return;
  if (process.env['KUBERNETES_SERVICE_HOST']) return;
  throw new Error(
    'kubeconfig: expected the path of a kubeconfig, as this process does not run in a pod (KUBERNETES_SERVICE_HOST is ' +
      'not set); without a cluster, set "cluster" to false',
  );
}

/**
 * How the daemon reaches the API server: by a certificate of the node's own, a kubeconfig, or the service account of its
 * pod; the first of these that is configured.
 *
 * @param ends What has to end with the daemon is added to it.
 * @throws {Error} when the one that counts cannot be read.
 */
export async function clusterAccess(config: DaemonConfig, log: Logger, ends: AsyncDisposableStack): Promise<Access> {
  const { kubeconfig, nodeName, perNodeCertificate } = config;
  if (perNodeCertificate !== undefined) {
    const { bootstrapKubeconfig, certDir, seconds } = perNodeCertificate;
    // Few nodes have one: the others go without what it takes.
    const { NodeCertificate } = await import('../kubernetes/certificate/node-certificate.ts');
    const bootstrap = Access.kubeconfig(bootstrapKubeconfig);
    const certificate = await NodeCertificate.start({ bootstrap, certDir, nodeName, seconds, log });
    return ends.use(certificate).access;
  }
  return kubeconfig === undefined ? Access.inCluster() : Access.kubeconfig(kubeconfig);
}
