import { Access } from '../kubernetes/access.ts';
import type { DaemonConfig } from './config.ts';
import type { Logger } from './log.ts';

/**
 * How the daemon reaches the API server: by a certificate of the node's own, a kubeconfig, or the service account of its
 * pod; the first of these that is configured.
 *
 * @param ends What has to end with the daemon is added to it.
 * @throws {Error} when there is none of them.
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
  if (kubeconfig !== undefined) return Access.kubeconfig(kubeconfig);
  if (process.env['KUBERNETES_SERVICE_HOST']) return Access.inCluster();
  throw new Error(
    'kubeconfig: expected the path of a kubeconfig, as this process does not run in a pod (KUBERNETES_SERVICE_HOST is ' +
      'not set); without a cluster, set "cluster" to false',
  );
}
