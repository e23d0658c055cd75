import { z } from 'zod';
import { defaultNetworkAnnotation, networksAnnotation } from '../attach/selection.ts';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { type Client, segment } from '../kubernetes/client.ts';
import { ApiError, isNotFound } from '../kubernetes/error.ts';
import type { Log } from '../kubernetes/log.ts';

/** What the API server does while the webhook cannot be asked. */
export type FailurePolicy = 'Ignore' | 'Fail';

export interface ConfigurationOptions {
  /** Of both objects. */
  readonly name: string;
  /** How the API server reaches the webhook: by a Service, or by a URL. */
  readonly reach: Reach;
  readonly podsFailurePolicy: FailurePolicy;
  readonly networksFailurePolicy: FailurePolicy;
  /** Namespaces whose pods are left alone. */
  readonly excludedNamespaces: readonly string[];
}

export type Reach =
  | { readonly service: { readonly namespace: string; readonly name: string; readonly port: number } }
  | { readonly url: string };

/** Where each webhook is asked. */
export const paths = { pods: '/pods', networks: '/networks' } as const;

/** They have to have three parts (admissionregistration.k8s.io/v1, MutatingWebhook, name). */
const webhookNames = { pods: 'pods.webhook.plexus', networks: 'networks.webhook.plexus' } as const;

const api = '/apis/admissionregistration.k8s.io/v1';

/** Seconds that a request of the API server waits. */
const timeoutSeconds = 5;

function clientConfig(reach: Reach, path: string): JsonObject {
  return 'url' in reach ? { url: `${reach.url}${path}` } : { service: { ...reach.service, path } };
}

const common = {
  admissionReviewVersions: ['v1'],
  sideEffects: 'None',
  matchPolicy: 'Equivalent',
  timeoutSeconds,
} as const;

/** Pods that ask for no network never depend on the webhook, from Kubernetes 1.28 on; before, the condition is dropped. */
const asksForNetworks = [networksAnnotation, defaultNetworkAnnotation].map(
  (key) => `'${key}' in object.metadata.annotations`,
);

/** Both objects, as they are made where there are none. */
export function configurations(options: ConfigurationOptions) {
  const { name, reach, podsFailurePolicy, networksFailurePolicy, excludedNamespaces } = options;
  const pods = {
    ...common,
    name: webhookNames.pods,
    clientConfig: clientConfig(reach, paths.pods),
    rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' }],
    failurePolicy: podsFailurePolicy,
    // What it does to a pod, it does once: another webhook's later change of the annotation is to be seen as well.
    reinvocationPolicy: 'IfNeeded',
    namespaceSelector: {
      matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: [...excludedNamespaces] }],
    },
    matchConditions: [
      {
        name: 'asks-for-networks',
        expression: `has(object.metadata.annotations) && (${asksForNetworks.join(' || ')})`,
      },
    ],
  };
  const networks = {
    ...common,
    name: webhookNames.networks,
    clientConfig: clientConfig(reach, paths.networks),
    rules: [
      {
        operations: ['CREATE', 'UPDATE'],
        apiGroups: ['k8s.cni.cncf.io'],
        apiVersions: ['v1'],
        resources: ['network-attachment-definitions'],
        scope: 'Namespaced',
      },
    ],
    failurePolicy: networksFailurePolicy,
  };
  return [
    { plural: 'mutatingwebhookconfigurations', kind: 'MutatingWebhookConfiguration', name, webhooks: [pods] },
    { plural: 'validatingwebhookconfigurations', kind: 'ValidatingWebhookConfiguration', name, webhooks: [networks] },
  ] as const;
}

const foundSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().min(1) }),
  webhooks: z.array(z.json()).nullish(),
});

/** How often it is begun anew where somebody else changed the object. */
const attempts = 5;

/**
 * Has the API server trust an authority when it asks the webhook: makes both configurations where they are not there, and else
 * changes `caBundle` alone. What an administrator has changed in them stays.
 *
 * @param authority PEM, of one certificate or several.
 * @throws {ApiError}
 */
export async function publish(
  client: Client,
  options: ConfigurationOptions,
  authority: string,
  log: Log,
): Promise<void> {
  const caBundle = Buffer.from(authority).toString('base64');
  for (const wanted of configurations(options)) {
    const collection = `${api}/${wanted.plural}`;
    const path = `${collection}/${segment('webhook configuration', wanted.name)}`;
    for (let left = attempts; ; left--) {
      try {
        if (await publishOne(client, collection, path, wanted, caBundle)) {
          log.info({ kind: wanted.kind, name: wanted.name }, 'the API server was told which authority to trust');
        }
        break;
      } catch (error) {
        const isRace = error instanceof ApiError && (error.status === 409 || error.status === 404);
        if (!isRace || left <= 1) throw error;
      }
    }
  }
}

/** @returns Whether there was anything to do. */
async function publishOne(
  client: Client,
  collection: string,
  path: string,
  { kind, name, webhooks }: ReturnType<typeof configurations>[number],
  caBundle: string,
): Promise<boolean> {
  let answer: unknown;
  try {
    answer = await client.request({ path });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const made = webhooks.map((webhook) => withBundle(webhook, caBundle));
    const apiVersion = 'admissionregistration.k8s.io/v1';
    await client.request({
      method: 'POST',
      path: collection,
      body: { apiVersion, kind, metadata: { name }, webhooks: made },
    });
    return true;
  }
  const found = foundSchema.parse(answer);
  const names = new Set<unknown>(webhooks.map((webhook) => webhook.name));
  const there = found.webhooks ?? [];
  const changed = there.map((webhook) =>
    isJsonObject(webhook) && names.has(webhook['name']) ? withBundle(webhook, caBundle) : webhook,
  );
  const present = new Set(there.flatMap((webhook) => (isJsonObject(webhook) ? [webhook['name']] : [])));
  const added = webhooks
    .filter((webhook) => !present.has(webhook.name))
    .map((webhook) => withBundle(webhook, caBundle));
  const all = [...changed, ...added];
  if (JSON.stringify(all) === JSON.stringify(there)) return false;
  const { resourceVersion } = found.metadata;
  const body = { metadata: { resourceVersion }, webhooks: all };
  await client.request({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' });
  return true;
}

function withBundle(webhook: JsonObject, caBundle: string): JsonObject {
  const { clientConfig: own } = webhook;
  return { ...webhook, clientConfig: { ...(isJsonObject(own) && own), caBundle } };
}
