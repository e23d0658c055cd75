import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:https';
import type { Serving } from '../kubernetes/certificate/issue.ts';
import { messageOf } from '../kubernetes/error.ts';
import type { Log } from '../kubernetes/log.ts';
import { type AdmissionRequest, answerOf, NotAReview, readReview, type Verdict } from './admission-review.ts';
import type { Outcome, WebhookMetrics } from './metrics.ts';

/** Not imported: an import of node:https loads all of its parts. */
const { createServer } = process.getBuiltinModule('node:https');

/** Answers the questions of one path. @throws {NotAReview} for what is none; anything else when it cannot be answered now. */
export type Reviewer = (request: AdmissionRequest) => Verdict | Promise<Verdict>;

export interface ServerOptions {
  /** By path. */
  readonly reviewers: ReadonlyMap<string, Reviewer>;
  readonly metrics: WebhookMetrics;
  readonly log: Log;
  readonly serving: Serving;
  readonly port: number;
  readonly address: string;
}

/** Bytes. An object of Kubernetes is at most 1.5 MiB, and an update has two of them. */
const maxBody = 8 << 20;

/** Connections at a time: an API server keeps a few. */
const maxConnections = 256;

/**
 * Serves AdmissionReviews over HTTPS.
 *
 * @throws {Error} when the port is taken.
 */
export async function serveReviews(options: ServerOptions): Promise<Server> {
  const { serving, port, address } = options;
  const server = createServer({ ...contextOf(serving), handshakeTimeout: 10_000 }, (request, response) => {
    void answer(request, response, options);
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  // The API server keeps a connection for 90 s (Go's http.Transport): it is to be the one that closes it.
  server.keepAliveTimeout = 120_000;
  server.maxConnections = maxConnections;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(port, address, resolve);
  try {
    await promise;
  } catch (error) {
    throw new Error(`cannot serve the webhook on ${address}, port ${port}: ${messageOf(error)}`, { cause: error });
  }
  return server;
}

/** Connections that are open stay as they are; new ones get the other certificate. */
export function reload(server: Server, serving: Serving): void {
  server.setSecureContext(contextOf(serving));
}

const contextOf = ({ certificate, key }: Serving) => ({ cert: certificate, key, minVersion: 'TLSv1.2' }) as const;

async function answer(request: IncomingMessage, response: ServerResponse, options: ServerOptions): Promise<void> {
  const { reviewers, metrics, log } = options;
  const path = request.url?.split('?', 1)[0] ?? '';
  const refuse = (status: number, text: string): void => {
    response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' }).end(`${text}\n`);
  };
  const reviewer = reviewers.get(path);
  if (reviewer === undefined) return refuse(404, `not found; there are ${[...reviewers.keys()].join(' and ')}`);
  if (request.method !== 'POST') return refuse(405, 'POST only');
  const webhook = path.slice(1);
  const begun = performance.now();
  const done = (outcome: Outcome): void => metrics.review(webhook, outcome, performance.now() - begun);
  try {
    const body = await bodyOf(request);
    if (body === undefined) {
      done('failed');
      return refuse(413, `longer than ${maxBody} bytes`);
    }
    const review = readReview(body);
    const verdict = await reviewer(review);
    const text = JSON.stringify(answerOf(review, verdict));
    response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    done(outcomeOf(verdict));
    tell(log, webhook, review, verdict);
  } catch (error) {
    done('failed');
    const isWrong = error instanceof NotAReview;
    log.warn(
      { webhook, error: messageOf(error) },
      isWrong ? 'a question that is none' : 'a question without an answer',
    );
    // The failurePolicy says what is to happen.
    if (!response.headersSent) refuse(isWrong ? 400 : 500, messageOf(error));
  }
}

function outcomeOf({ refusal, patch = [] }: Verdict): Outcome {
  if (refusal !== undefined) return 'refused';
  return patch.length > 0 ? 'changed' : 'allowed';
}

function tell(log: Log, webhook: string, review: AdmissionRequest, verdict: Verdict): void {
  const { refusal, patch = [], warnings = [] } = verdict;
  const object = `${review.namespace}/${review.name}`;
  if (refusal !== undefined) log.info({ webhook, object, refusal }, 'refused');
  else if (patch.length > 0 || warnings.length > 0) log.info({ webhook, object, patch, warnings }, 'answered');
}

/** @returns undefined for one that is too long. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new Error('expected bytes');
    size += chunk.length;
    if (size > maxBody) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
