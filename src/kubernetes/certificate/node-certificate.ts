import { generateKeyPair } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Access } from '../access.ts';
import { Backoff } from '../backoff.ts';
import { Client } from '../client.ts';
import { isTransient, messageOf } from '../error.ts';
import type { Connection } from '../kubeconfig.ts';
import type { Log } from '../log.ts';
import { loadPair, type Pair, readPair, savePair } from './pair.ts';
import { certificateRequest, type Subject } from './request.ts';
import { signedCertificate } from './signing.ts';

export interface NodeCertificateOptions {
  /** By which the first certificate is asked for, and each after one that has expired. */
  readonly bootstrap: Access;
  /** Where key and certificate are kept, in one file. */
  readonly certDir: string;
  readonly nodeName: string;
  /** How long a certificate is wanted for. */
  readonly seconds: number;
  readonly log: Log;
  readonly timings?: Partial<CertificateTimings>;
}

/** Milliseconds, the first and the longest. Tests shorten them. */
export interface CertificateTimings {
  /** Between looks at a request. */
  readonly look: readonly [number, number];
  /** Until another attempt, where the server is away. */
  readonly away: readonly [number, number];
  /** Until another attempt, where the certificate was denied or is of no use: each leaves a request in the cluster. */
  readonly refused: readonly [number, number];
}

const defaultTimings: CertificateTimings = {
  look: [500, 10_000],
  away: [1_000, 30_000],
  refused: [10_000, 600_000],
};

/** The name is that of client-go's certificate store: Multus finds there what Plexus has kept, and the other way round. */
export const pairFile = (certDir: string): string => join(certDir, 'multus-client-current.pem');

/** What an administrator gives rights to, as with Multus: the group, or the node's own name. */
export const subjectOf = (nodeName: string): Subject => ({
  commonName: `system:multus:${nodeName}`,
  organization: 'system:multus',
});

/** A connection to the same server, with a certificate in the place of all credentials. */
export const withPair = ({ server, tls }: Connection, { certificate: cert, key }: Pair): Connection => ({
  server,
  tls: { ...tls, cert, key },
  headers: {},
});

/** The longest that the clock is not looked at: it may be set, or the machine may have slept. */
const longestSleep = 60_000;

/**
 * A client certificate of the node's own, of which the key never leaves the node. It is asked for as soon as there is none,
 * and again after 70 to 90 % of its life, by itself as long as it is good; meanwhile the one before goes on being used.
 */
export class NodeCertificate implements AsyncDisposable {
  /** The way to the API server with the certificate of the moment. Connections that are open stay open when it changes. */
  readonly access: Access;
  /** The same as long as it is good, and the bootstrap credentials then: a renewal may take longer than what is left. */
  readonly #renewal: Access;
  readonly #options: NodeCertificateOptions;
  readonly #subject: Subject;
  readonly #timings: CertificateTimings;
  readonly #stop = new AbortController();
  /** Ends the wait until a renewal: the server has refused the certificate. */
  #refused = new AbortController();
  #pair: Pair | undefined;
  #connected: { readonly pair: Pair; readonly base: Connection; readonly connection: Connection } | undefined;
  #problem = 'it was not asked for yet';
  #done: Promise<void> = Promise.resolve();

  private constructor(options: NodeCertificateOptions) {
    this.#options = options;
    this.#subject = subjectOf(options.nodeName);
    this.#timings = { ...defaultTimings, ...options.timings };
    const origin = `certificate of this node in ${options.certDir}`;
    // Nothing is read for it: the file is this one's own.
    const common = { origin, forget: () => this.#refused.abort(), freshFor: 0, keepLast: false };
    this.access = new Access({ ...common, load: () => this.#connection() });
    this.#renewal = new Access({
      ...common,
      load: () => (this.#canRenewItself() ? this.#connection() : options.bootstrap.connection()),
    });
  }

  /** Takes up what was kept, and goes on renewing it until {@link close}. */
  static async start(options: NodeCertificateOptions): Promise<NodeCertificate> {
    const own = new NodeCertificate(options);
    try {
      own.#pair = await loadPair(own.#file, own.#subject);
    } catch (error) {
      options.log.warn({ error: messageOf(error) }, 'the certificate that was kept is of no use: another is asked for');
    }
    own.#done = own.#run();
    return own;
  }

  /** Milliseconds since 1970 until which the certificate is good; undefined when there is none. */
  get notAfter(): number | undefined {
    return this.#pair?.notAfter;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #file(): string {
    return pairFile(this.#options.certDir);
  }

  /** One and the same as long as nothing has changed: by it a refusal is told from one of the pair before. */
  async #connection(): Promise<Connection> {
    const pair = this.#goodPair() ?? this.#fail();
    const base = await this.#options.bootstrap.connection();
    if (this.#connected?.pair !== pair || this.#connected.base !== base) {
      this.#connected = { pair, base, connection: withPair(base, pair) };
    }
    return this.#connected.connection;
  }

  #goodPair(): Pair | undefined {
    return this.#pair !== undefined && Date.now() < this.#pair.notAfter ? this.#pair : undefined;
  }

  #canRenewItself(): boolean {
    return this.#goodPair() !== undefined && !this.#refused.signal.aborted;
  }

  #fail(): never {
    const state =
      this.#pair === undefined ? 'there is none' : `expired at ${new Date(this.#pair.notAfter).toISOString()}`;
    throw new Error(`${state}: ${this.#problem}`);
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    const stop = this.#stop.signal;
    const away = new Backoff(...this.#timings.away);
    const refused = new Backoff(...this.#timings.refused);
    while (!stop.aborted) {
      try {
        if (this.#pair !== undefined) await this.#untilRenewal(this.#pair);
        if (this.#refused.signal.aborted) await refused.wait(stop);
        if (stop.aborted) return;
        const wasRefused = this.#refused.signal.aborted;
        this.#pair = await this.#renew();
        this.#refused = new AbortController();
        away.reset();
        if (!wasRefused) refused.reset();
        const until = new Date(this.#pair.notAfter).toISOString();
        log.info({ subject: this.#subject.commonName, until, file: this.#file }, 'got a certificate');
      } catch (error) {
        if (stop.aborted) return;
        this.#problem = messageOf(error);
        log.warn({ error: this.#problem }, 'a certificate for this node could not be got; it is tried again');
        await (isTransient(error) ? away : refused).wait(stop).catch(() => {});
      }
    }
  }

  async #untilRenewal({ notBefore, notAfter }: Pair): Promise<void> {
    const at = notBefore + (notAfter - notBefore) * (0.7 + Math.random() * 0.2);
    const signal = AbortSignal.any([this.#stop.signal, this.#refused.signal]);
    for (let left = at - Date.now(); left > 0 && !signal.aborted; left = at - Date.now()) {
      await sleep(Math.min(left, longestSleep), undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Asks with the certificate itself where there is a good one, and with the bootstrap credentials otherwise. */
  async #renew(): Promise<Pair> {
    const { bootstrap, log } = this.#options;
    if (!this.#canRenewItself()) return this.#obtain(bootstrap);
    try {
      return await this.#obtain(this.#renewal);
    } catch (error) {
      if (this.#stop.signal.aborted) throw error;
      log.info(
        { error: messageOf(error) },
        'the certificate could not be renewed by itself: the bootstrap credentials are used',
      );
      return this.#obtain(bootstrap);
    }
  }

  async #obtain(access: Access): Promise<Pair> {
    const { seconds, log } = this.#options;
    const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
    using client = new Client(access);
    const certificate = await signedCertificate(client, {
      request: certificateRequest(this.#subject, privateKey),
      seconds,
      signal: this.#stop.signal,
      submitted: (name) => {
        this.#problem = `certificate signing request ${name} waits for approval, as by: kubectl certificate approve ${name}`;
        log.info({ request: name }, 'a certificate is asked for, and waits for approval by the cluster');
      },
      waits: this.#timings.look,
    });
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const pair = readPair(`${certificate}${certificate.endsWith('\n') ? '' : '\n'}${key}`, this.#subject);
    if (pair.notAfter <= Date.now()) {
      throw new Error(
        `expected a certificate that is good now, found one until ${new Date(pair.notAfter).toISOString()}`,
      );
    }
    await savePair(this.#file, pair).catch((error: unknown) => {
      log.warn({ error: messageOf(error) }, 'the certificate cannot be kept: after a restart another is asked for');
    });
    return pair;
  }
}
