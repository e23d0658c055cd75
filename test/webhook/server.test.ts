import assert from 'node:assert/strict';
import { once } from 'node:events';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { pino } from 'pino';
import { issueServing } from '../../src/kubernetes/certificate/issue.ts';
import { answerOf, type Verdict } from '../../src/webhook/admission-review.ts';
import { WebhookMetrics } from '../../src/webhook/metrics.ts';
import { serveReviews } from '../../src/webhook/server.ts';
import { requestOf } from './reviews.ts';

const review = (request: object = requestOf('pods', {})): string =>
  JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request });

/** A server that says the same to everything, and one that asks it. */
async function served(verdict: () => Verdict) {
  const metrics = new WebhookMetrics(() => undefined);
  const [notBefore, notAfter] = [Date.now() - 60_000, Date.now() + 600_000];
  const serving = await issueServing({ names: ['127.0.0.1'], organization: 'test', notBefore, notAfter });
  const server = await serveReviews({
    reviewers: new Map([['/pods', verdict]]),
    metrics,
    log: pino({ level: 'silent' }),
    serving,
    port: 0,
    address: '127.0.0.1',
  });
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const { port } = address;
  return {
    metrics,
    async ask(body: string, { path = '/pods', method = 'POST', ca = serving.authority } = {}) {
      const request = https.request({ host: '127.0.0.1', port, path, method, ca, agent: false });
      request.end(body);
      const [response] = await once(request, 'response');
      return { status: response.statusCode, text: await text(response) };
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const questions: readonly (readonly [name: string, body: string, status: number, text: RegExp])[] = [
  ['no JSON', '{', 400, /^expected JSON: /],
  ['nothing', '', 400, /^expected JSON: /],
  ['another kind of object', '{"apiVersion":"v1","kind":"Pod"}', 400, /^expected an AdmissionReview: apiVersion: /],
  [
    'a review of an older version',
    review().replace('/v1"', '/v1beta1"'),
    400,
    /^expected an AdmissionReview: apiVersion: /,
  ],
  [
    'a review without a request',
    review().replace('"request"', '"other"'),
    400,
    /^expected an AdmissionReview: request: /,
  ],
  ['more than anybody has to ask', `"${'x'.repeat(9 << 20)}"`, 413, /^longer than \d+ bytes/],
];

for (const [name, body, status, expected] of questions) {
  test(`what is no question is told so: ${name}`, async () => {
    await using it = await served(() => ({}));
    const answer = await it.ask(body).catch((error: unknown) => error);
    // Of what is too long, the rest is not read: the answer may be lost with the connection.
    if (answer instanceof Error) return assert.match(answer.message, /EPIPE|ECONNRESET|socket hang up/);
    assert.ok(typeof answer === 'object' && answer !== null && 'status' in answer && 'text' in answer);
    assert.equal(answer.status, status);
    assert.match(String(answer.text), expected);
  });
}

test('other paths and methods are told so', async () => {
  await using it = await served(() => ({}));
  assert.deepEqual(await it.ask(review(), { path: '/x' }), { status: 404, text: 'not found; there are /pods\n' });
  assert.deepEqual(await it.ask('', { method: 'GET' }), { status: 405, text: 'POST only\n' });
});

test('a question that cannot be answered is an error of the server: the failurePolicy decides', async () => {
  await using it = await served(() => {
    throw new Error('the network cannot be known now');
  });
  assert.deepEqual(await it.ask(review()), { status: 500, text: 'the network cannot be known now\n' });
  assert.match(await it.metrics.registry.metrics(), /reviews_total\{webhook="pods",outcome="failed"\} 1/);
});

test('who does not trust the authority does not get as far as asking', async () => {
  await using it = await served(() => ({}));
  const other = await issueServing({
    names: ['127.0.0.1'],
    organization: 'test',
    notBefore: Date.now(),
    notAfter: Date.now() + 60_000,
  });
  await assert.rejects(it.ask(review(), { ca: other.authority }), /unable to verify|self-signed|issuer/);
});

test('an answer is an AdmissionReview of the same version and UID', () => {
  assert.deepEqual(answerOf({ uid: 'u' }, {}), {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid: 'u', allowed: true },
  });
  const patch = [{ op: 'add', path: '/spec/nodeSelector', value: { a: 'b' } }] as const;
  assert.deepEqual(answerOf({ uid: 'u' }, { patch, warnings: ['a\nb', 'x'.repeat(300)] }), {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: {
      uid: 'u',
      allowed: true,
      patchType: 'JSONPatch',
      patch: Buffer.from(JSON.stringify(patch)).toString('base64'),
      warnings: ['a b', `${'x'.repeat(253)}...`],
    },
  });
  assert.deepEqual(answerOf({ uid: 'u' }, { refusal: 'no' })['response'], {
    uid: 'u',
    allowed: false,
    status: { code: 422, reason: 'Invalid', message: 'no' },
  });
});
