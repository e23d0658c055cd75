import { randomUUID } from 'node:crypto';
import https from 'node:https';
import { z } from 'zod';
import { isJsonObject, type JsonObject, type JsonValue } from '../../cni/json.ts';
import { issuesOf } from '../../kubernetes/issues.ts';
import { Failure, type Reason } from './failure.ts';
import { jsonPatch } from './json-patch.ts';
import type { KubernetesObject } from './object.ts';
import { mutatingWebhookConfigurations, type Resource, validatingWebhookConfigurations } from './resources.ts';
import type { Store } from './store.ts';

/** A change that is to be admitted. */
export interface Admission {
  readonly operation: 'CREATE' | 'UPDATE';
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly object: KubernetesObject;
  readonly oldObject: KubernetesObject | undefined;
}

const strings = z.array(z.string()).nullish();

const selectorSchema = z.object({
  matchExpressions: z.array(z.object({ key: z.string(), operator: z.string(), values: strings })).nullish(),
});

/** admissionregistration.k8s.io/v1, as much of a webhook as is heeded here: no object selectors and no conditions. */
const webhookSchema = z.object({
  name: z.string(),
  clientConfig: z.object({ url: z.string().nullish(), caBundle: z.string().nullish() }),
  rules: z
    .array(
      z.object({ operations: z.array(z.string()), apiGroups: z.array(z.string()), resources: z.array(z.string()) }),
    )
    .nullish(),
  failurePolicy: z.string().nullish(),
  namespaceSelector: selectorSchema.nullish(),
  timeoutSeconds: z.number().nullish(),
});

const configurationSchema = z.object({ webhooks: z.array(webhookSchema).nullish() });

type Webhook = z.infer<typeof webhookSchema>;

const answerSchema = z.object({
  response: z.object({
    uid: z.string(),
    allowed: z.boolean(),
    status: z
      .object({ code: z.number().nullish(), reason: z.string().nullish(), message: z.string().nullish() })
      .nullish(),
    patchType: z.literal('JSONPatch').nullish(),
    patch: z.string().nullish(),
    warnings: strings,
  }),
});

/** Bytes of an answer. */
const maxAnswer = 4 << 20;

/** An object as it was admitted, and what the one who wrote it is to be told. */
export interface Admitted {
  readonly object: KubernetesObject;
  readonly warnings: readonly string[];
}

/**
 * Asks the webhooks that the store has configurations of: those that may change an object, one after the other, then those that
 * may refuse it. A webhook is reached by its URL; there is no network in which a Service could be.
 *
 * @throws {Failure} when one refuses, or cannot be asked and has to be.
 */
export async function admit(store: Store, admission: Admission): Promise<Admitted> {
  let { object } = admission;
  const warnings: string[] = [];
  for (const kind of [mutatingWebhookConfigurations, validatingWebhookConfigurations]) {
    for (const webhook of store.list(kind).flatMap(webhooksOf)) {
      if (!isAsked(webhook, admission)) continue;
      const response = await ask(webhook, { ...admission, object });
      if (response === undefined) continue;
      warnings.push(...(response.warnings ?? []));
      if (!response.allowed) throw refusal(webhook, response.status?.message, response.status?.reason);
      if (kind === mutatingWebhookConfigurations && response.patch) object = patched(object, response.patch);
    }
  }
  return { object, warnings };
}

function webhooksOf(configuration: KubernetesObject): Webhook[] {
  const parsed = configurationSchema.safeParse(configuration);
  if (parsed.success) return parsed.data.webhooks ?? [];
  throw new Failure('InternalError', `${configuration.kind} ${configuration.metadata.name}: ${issuesOf(parsed.error)}`);
}

function isAsked({ rules, namespaceSelector }: Webhook, { operation, resource, namespace }: Admission): boolean {
  const has = (list: readonly string[], value: string): boolean => list.includes('*') || list.includes(value);
  const isRuled = (rules ?? []).some(
    ({ operations, apiGroups, resources }) =>
      has(operations, operation) && has(apiGroups, resource.group) && has(resources, resource.plural),
  );
  return (
    isRuled && (namespaceSelector?.matchExpressions ?? []).every((expression) => isSelected(expression, namespace))
  );
}

/** Of a namespace, its name alone is looked at, which each has as a label. */
function isSelected(
  { key, operator, values }: { key: string; operator: string; values?: string[] | null | undefined },
  namespace: string | undefined,
): boolean {
  if (namespace === undefined) return true;
  const isNamed = key === 'kubernetes.io/metadata.name' && (values ?? []).includes(namespace);
  return operator === 'In' ? isNamed : operator === 'NotIn' ? !isNamed : true;
}

type Response = z.infer<typeof answerSchema>['response'];

/** @returns undefined where it cannot be asked, and need not be. */
async function ask(webhook: Webhook, admission: Admission): Promise<Response | undefined> {
  try {
    return await exchange(webhook, admission);
  } catch (error) {
    if (webhook.failurePolicy === 'Ignore') return undefined;
    const message = error instanceof Error ? error.message : String(error);
    throw new Failure('InternalError', `failed calling webhook "${webhook.name}": ${message}`);
  }
}

async function exchange({ clientConfig, timeoutSeconds }: Webhook, admission: Admission): Promise<Response> {
  const { url, caBundle } = clientConfig;
  if (!url) throw new Error('it has no url, and Services are not served here');
  const uid = randomUUID();
  const body = JSON.stringify(reviewOf(uid, admission));
  const ca = caBundle ? { ca: [Buffer.from(caBundle, 'base64').toString()] } : {};
  const signal = AbortSignal.timeout((timeoutSeconds ?? 10) * 1000);
  const { status, text } = await post(url, body, { ...ca, signal });
  if (status !== 200) throw new Error(`status ${status}: ${text.trim()}`);
  const { response } = answerSchema.parse(JSON.parse(text));
  if (response.uid !== uid) throw new Error(`expected an answer to ${uid}, found one to ${response.uid}`);
  return response;
}

function reviewOf(uid: string, { operation, resource, namespace, object, oldObject }: Admission): JsonObject {
  const { group, version, kind, plural } = resource;
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid,
      kind: { group, version, kind },
      resource: { group, version, resource: plural },
      operation,
      name: object.metadata.name,
      ...(namespace !== undefined && { namespace }),
      userInfo: { username: 'playground' },
      object,
      oldObject: oldObject ?? null,
      dryRun: false,
    },
  };
}

function post(url: string, body: string, options: https.RequestOptions): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
  const request = https.request(url, { ...options, method: 'POST', headers, agent: false }, (response) => {
    const chunks: Buffer[] = [];
    let size = 0;
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxAnswer) response.destroy(new Error(`an answer of more than ${maxAnswer} bytes`));
      else chunks.push(chunk);
    });
    response.once('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
    response.once('error', reject);
  });
  request.once('error', reject);
  request.end(body);
  return promise;
}

function patched(object: KubernetesObject, patch: string): KubernetesObject {
  const operations: JsonValue = JSON.parse(Buffer.from(patch, 'base64').toString());
  const changed = jsonPatch(object, operations);
  if (!isJsonObject(changed)) throw new Failure('InternalError', 'a webhook has made something else of an object');
  return { ...object, ...changed };
}

/** In the API server's words (apiserver: admission/plugin/webhook/errors). */
function refusal({ name }: Webhook, message: string | null | undefined, reason: string | null | undefined): Failure {
  const known: Reason = reason === 'Invalid' || reason === 'BadRequest' ? reason : 'Forbidden';
  const told = message
    ? `admission webhook "${name}" denied the request: ${message}`
    : `admission webhook "${name}" denied the request without explanation`;
  return new Failure(known, told);
}
