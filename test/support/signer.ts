import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { textAt } from '../../src/playground/api/object.ts';
import { certificateSigningRequests } from '../../src/playground/api/resources.ts';
import type { Api } from '../../src/playground/api/server.ts';

const run = promisify(execFile);

export interface SignerOptions {
  /** Of the authority: see authority(). */
  readonly directory: string;
  /** Milliseconds that its certificates are good for, whatever was asked for. */
  readonly life: number;
}

/** What kube-controller-manager's signer does, with a certificate authority of the test's own, by openssl. */
export class Signer {
  readonly #options: SignerOptions;

  private constructor(options: SignerOptions) {
    this.#options = options;
  }

  static async in(options: SignerOptions): Promise<Signer> {
    const { directory } = options;
    const own = join(directory, 'signer');
    await mkdir(own);
    await writeFile(join(own, 'index'), '');
    await writeFile(
      join(own, 'ca.cnf'),
      `[ca]\ndefault_ca=own\n[own]\ndatabase=${own}/index\nnew_certs_dir=${own}\nrand_serial=yes\ndefault_md=sha256\n` +
        `certificate=${directory}/ca.crt\nprivate_key=${directory}/ca.key\npolicy=any\nunique_subject=no\n` +
        'x509_extensions=client\n[any]\ncommonName=supplied\norganizationName=optional\n' +
        '[client]\nextendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n',
    );
    return new Signer(options);
  }

  /** Approves a request as `kubectl certificate approve` does, and signs it. */
  async sign(api: Api, name: string): Promise<void> {
    const condition = { type: 'Approved', status: 'True', reason: 'Test', message: 'by the test' };
    const approved = api.store.get(certificateSigningRequests, undefined, name);
    api.store.update({ ...approved, status: { conditions: [condition] } }, 'approval');
    const request = Buffer.from(textAt(approved, 'spec.request'), 'base64').toString();
    const certificate = await this.issue(name, request);
    const now = api.store.get(certificateSigningRequests, undefined, name);
    api.store.update({ ...now, status: { certificate: Buffer.from(certificate).toString('base64') } }, 'status');
  }

  /** Signs a request. @returns The certificate. */
  async issue(name: string, request: string): Promise<string> {
    const { directory, life } = this.#options;
    const at = (file: string): string => join(directory, 'signer', file);
    await writeFile(at(`${name}.csr`), request);
    const [from, until] = [timeOf(Date.now() - 1000), timeOf(Date.now() + life)];
    const files = ['-config', at('ca.cnf'), '-in', at(`${name}.csr`), '-out', at(`${name}.crt`)];
    await run('openssl', ['ca', '-batch', '-notext', ...files, '-startdate', from, '-enddate', until]);
    return readFile(at(`${name}.crt`), 'utf8');
  }
}

/** As openssl takes a time: YYYYMMDDHHMMSSZ. */
const timeOf = (milliseconds: number): string =>
  `${new Date(milliseconds).toISOString().replaceAll(/[-:T]|\..*$/g, '')}Z`;
