import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { stringify } from 'yaml';
import { certificateSigningRequests } from '../../src/playground/api/resources.ts';
import { type Api, startApi } from '../../src/playground/api/server.ts';
import { pod } from '../playground-api/manifests.ts';
import { authority } from './authority.ts';
import { testDirectory } from './directory.ts';
import { Signer } from './signer.ts';

/** An API server that asks everybody for a certificate of its authority, and a node that has one to begin with. */
export interface SecuredApi extends AsyncDisposable {
  readonly api: Api;
  readonly signer: Signer;
  readonly directory: string;
  /** The kubeconfig of that one. */
  readonly kubeconfig: string;
  /** Subject and serial number of who has connected, without repetition. */
  readonly clients: ReadonlyMap<string, string>;
  /** Names of the requests that are there, in the order they came. */
  requests(): string[];
}

/** @param life Milliseconds that the signer's certificates are good for. */
export async function securedApi(life = 600_000): Promise<SecuredApi> {
  const directory = await testDirectory();
  const own = await authority(directory.path);
  const { key, cert } = await own.issue('server', 'IP:127.0.0.1');
  const kubelet = await own.issue('kubelet', 'DNS:node-1');
  const api = await startApi({ objects: [pod('a', { node: 'node-1' })] });
  const clients = new Map<string, string>();
  const server = tls.createServer({ key, cert, ca: own.ca, requestCert: true }, (socket) => {
    const { subject, serialNumber } = socket.getPeerCertificate();
    clients.set(serialNumber, String(subject.CN));
    api.serve(socket);
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address: AddressInfo | string | null = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const file = join(directory.path, 'bootstrap.kubeconfig');
  await writeFile(
    file,
    stringify({
      clusters: [
        { name: 'c', cluster: { server: `https://127.0.0.1:${address.port}`, 'certificate-authority': own.caFile } },
      ],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      users: [{ name: 'u', user: { 'client-certificate': kubelet.certFile, 'client-key': kubelet.keyFile } }],
      'current-context': 'x',
    }),
  );
  return {
    api,
    clients,
    directory: directory.path,
    signer: await Signer.in({ directory: directory.path, life }),
    kubeconfig: file,
    requests: () =>
      api.store
        .list(certificateSigningRequests)
        .toSorted((a, b) => Number(a.metadata.resourceVersion) - Number(b.metadata.resourceVersion))
        .map(({ metadata }) => metadata.name),
    async [Symbol.asyncDispose]() {
      await api.close();
      await new Promise((closed) => server.close(closed));
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** Signs whatever is asked for, until it is disposed of. */
export function signAll({ api, signer }: SecuredApi): AsyncDisposable {
  const signing: Promise<void>[] = [];
  const stop = api.store.listen(({ type, resource, object }) => {
    if (type === 'ADDED' && resource === certificateSigningRequests) {
      signing.push(signer.sign(api, object.metadata.name));
    }
  });
  return {
    async [Symbol.asyncDispose]() {
      stop();
      await Promise.all(signing);
    },
  };
}
