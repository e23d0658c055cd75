import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const openssl = (...args: string[]) => run('openssl', args);

/** What a server or client proves with that it is who it is: PEM, and the files it is in. */
export interface Identity {
  readonly key: string;
  readonly cert: string;
  readonly keyFile: string;
  readonly certFile: string;
}

export interface Authority {
  /** Its own certificate. */
  readonly ca: string;
  readonly caFile: string;
  /** @param alternative What the certificate is for, such as IP:127.0.0.1. */
  issue(name: string, alternative: string): Promise<Identity>;
}

/** A certificate authority of our own, in a directory, made with openssl. */
export async function authority(directory: string): Promise<Authority> {
  const keyFile = join(directory, 'ca.key');
  const caFile = join(directory, 'ca.crt');
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...newKey, '-keyout', keyFile, '-out', caFile, '-subj', '/CN=test authority');
  const signer = ['-CA', caFile, '-CAkey', keyFile, '-CAcreateserial'];
  return {
    ca: await readFile(caFile, 'utf8'),
    caFile,
    async issue(name, alternative) {
      const base = join(directory, name);
      const own = { keyFile: `${base}.key`, certFile: `${base}.crt` };
      await writeFile(`${base}.ext`, `subjectAltName=${alternative}\n`);
      await openssl('req', ...newKey, '-keyout', own.keyFile, '-out', `${base}.csr`, '-subj', `/CN=${name}`);
      await openssl('x509', '-req', '-in', `${base}.csr`, '-out', own.certFile, '-extfile', `${base}.ext`, ...signer);
      return { ...own, key: await readFile(own.keyFile, 'utf8'), cert: await readFile(own.certFile, 'utf8') };
    },
  };
}
