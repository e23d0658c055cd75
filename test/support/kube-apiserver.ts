import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { generateKeyPair } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { authority } from './authority.ts';
import { freePort } from './free-port.ts';

/** How a server is reached, and as whom. */
export interface Endpoint {
  readonly url: URL;
  /** What its certificate is signed by; none without TLS. */
  readonly ca?: string | undefined;
  readonly token?: string | undefined;
}

/** A kube-apiserver with its etcd, on loopback, with nothing in it but what such a server makes for itself. */
export interface ControlPlane extends AsyncDisposable {
  /** Where the authority is that its clients' certificates may be signed by: see authority(). */
  readonly directory: string;
  /** As one who may do everything. */
  readonly administrator: Endpoint;
  /** As one who may do nothing, until a role is bound to the user's name, {@link userName}. */
  readonly user: Endpoint;
  /** Ends kube-apiserver without a word and starts it anew on the same port; etcd stays. */
  restart(): Promise<void>;
}

export const userName = 'plexus-test';

/** Milliseconds that a program may take until it serves: minutes on a busy machine of two cores. */
const startUp = 120_000;

/** @returns What `kube-apiserver --version` says, without its name. */
export async function versionOf(assets: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(assets, 'kube-apiserver'), ['--version']);
  return stdout.trim().replace(/^Kubernetes /, '');
}

/**
 * Starts etcd and kube-apiserver, as envtest does (kubernetes-sigs/controller-runtime, pkg/internal/testing/controlplane).
 * All is below a directory of its own, goes with it, and ends with this process at the latest.
 *
 * @param assets The folder with both programs, which KUBEBUILDER_ASSETS names by convention.
 * @throws {Error} with the last lines of a program that ended, or that does not serve in time.
 */
export async function startControlPlane(assets: string): Promise<ControlPlane> {
  const directory = await mkdtemp(join(tmpdir(), 'plx-kube-'));
  const programs: Program[] = [];
  const end = async (): Promise<void> => {
    for (const program of programs.toReversed()) await program.end();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const etcd = await startEtcd(assets, directory);
    programs.push(etcd.program);
    const { args, administrator, user } = await apiServerOf(directory, etcd.url);
    const start = async (): Promise<void> => {
      const program = new Program(join(assets, 'kube-apiserver'), args);
      programs.push(program);
      await program.untilServing(() => answers(administrator, '/readyz'));
    };
    await start();
    return {
      directory,
      administrator,
      user,
      async restart() {
        await programs.pop()?.end();
        await start();
      },
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

async function startEtcd(assets: string, directory: string): Promise<{ program: Program; url: string }> {
  const file = join(assets, 'etcd');
  const [client, peer] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${client}`;
  const { stdout, stderr } = await promisify(execFile)(file, ['--help']);
  const help = stdout + stderr;
  const known = (...flags: string[]) => flags.filter((flag) => help.includes(`--${flag} '`)).slice(0, 1);
  const program = new Program(file, [
    `--data-dir=${join(directory, 'etcd')}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=http://127.0.0.1:${peer}`,
    // Nothing here is to outlive the test.
    ...known('unsafe-no-fsync').map((flag) => `--${flag}=true`),
    // As kubeadm has it: without it a bookmark tells nothing of changes elsewhere. Its name changed in 3.6.
    ...known('watch-progress-notify-interval', 'experimental-watch-progress-notify-interval').map(
      (flag) => `--${flag}=1s`,
    ),
  ]);
  try {
    await program.untilServing(async () => (await fetch(`${url}/health`)).ok);
  } catch (error) {
    await program.end();
    throw error;
  }
  return { program, url };
}

async function apiServerOf(directory: string, etcd: string) {
  const port = await freePort();
  const url = new URL(`https://127.0.0.1:${port}`);
  const own = await authority(directory);
  const { certFile, keyFile } = await own.issue('apiserver', 'IP:127.0.0.1');
  const tokens = join(directory, 'tokens.csv');
  await writeFile(tokens, `admin-token,admin,1,system:masters\nuser-token,${userName},2,\n`);
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const [publicFile, privateFile] = [join(directory, 'accounts.pub'), join(directory, 'accounts.key')];
  await writeFile(publicFile, publicKey);
  await writeFile(privateFile, privateKey);
  const args = [
    `--etcd-servers=${etcd}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    `--cert-dir=${directory}`,
    `--tls-cert-file=${certFile}`,
    `--tls-private-key-file=${keyFile}`,
    `--client-ca-file=${own.caFile}`,
    `--token-auth-file=${tokens}`,
    '--authorization-mode=RBAC',
    '--allow-privileged=true',
    '--service-cluster-ip-range=10.0.0.0/24',
    `--service-account-issuer=${url.origin}`,
    `--service-account-key-file=${publicFile}`,
    `--service-account-signing-key-file=${privateFile}`,
    // No controller makes the account that each pod would have to have.
    '--disable-admission-plugins=ServiceAccount',
    '--endpoint-reconciler-type=none',
  ];
  const { ca } = own;
  return { args, administrator: { url, ca, token: 'admin-token' }, user: { url, ca, token: 'user-token' } };
}

/** A running program, and the last that it said. */
class Program {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #said: string[] = [];
  readonly #file: string;

  constructor(file: string, args: readonly string[]) {
    this.#file = file;
    // The kernel ends it with this process, however that ends.
    const bound = ['--pdeathsig', 'KILL', '--', file, ...args];
    this.#child = spawn('setpriv', bound, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#ended = once(this.#child, 'close').catch((error: unknown) => this.#note(String(error)));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => this.#note(chunk.toString()));
    }
  }

  /** @throws {Error} with what it said last. */
  async untilServing(serves: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + startUp;
    while (!(await serves().catch(() => false))) {
      const { exitCode, signalCode, pid } = this.#child;
      const ended = pid === undefined || exitCode !== null || signalCode !== null;
      if (ended || performance.now() > deadline) {
        await this.end();
        const what = ended ? 'ended' : `does not serve within ${startUp / 1000} s`;
        throw new Error(`${this.#file} ${what}; its last words:\n${this.#said.slice(-20).join('\n')}`);
      }
      await sleep(50);
    }
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #note(words: string): void {
    this.#said.push(...words.split('\n').filter((line) => line !== ''));
    this.#said.splice(0, this.#said.length - 200);
  }
}

/** Whether a path is answered with success. */
async function answers({ url, ca, token }: Endpoint, path: string): Promise<boolean> {
  const outgoing = request(new URL(path, url), { ca, headers: { authorization: `Bearer ${token}` }, agent: false });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  await text(response);
  return response.statusCode === 200;
}
