import { Access } from '../access.ts';
import { type NodeCertificateOptions, pairFile, subjectOf, withPair } from './node-certificate.ts';
import { loadPair } from './pair.ts';

/**
 * The way to the API server with the certificate that a daemon keeps, for whoever only wants to look: nothing is asked for or
 * renewed.
 */
export function keptCertificate(options: Pick<NodeCertificateOptions, 'bootstrap' | 'certDir' | 'nodeName'>): Access {
  const { bootstrap, certDir, nodeName } = options;
  const file = pairFile(certDir);
  return new Access({
    origin: `certificate of this node in ${certDir}`,
    async load() {
      const pair = await loadPair(file, subjectOf(nodeName));
      if (pair === undefined) throw new Error(`there is none in ${file}: the log of the daemon says what it waits for`);
      return withPair(await bootstrap.connection(), pair);
    },
  });
}
