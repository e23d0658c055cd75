import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { pino } from 'pino';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import type { JsonObject } from '../../src/cni/json.ts';
import { at, objectSchema, type StoredObject, textAt } from '../../src/playground/api/object.ts';
import {
  mutatingWebhookConfigurations,
  networkAttachmentDefinitions,
  pods,
  secrets,
  validatingWebhookConfigurations,
} from '../../src/playground/api/resources.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { startWebhook, type Webhook, type WebhookOptions } from '../../src/webhook/webhook.ts';
import { accessTo, onEachServer, type Running } from '../kubernetes/server.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { isStatus } from '../support/admin.ts';
import { freePort } from '../support/free-port.ts';
import { userName } from '../support/kube-apiserver.ts';
import { config, networksKey, requestOf, resourceKey } from './reviews.ts';

const options = { timeout: 120_000 };

const day = 86_400_000;
const name = 'plexus-webhook';
/** The webhook's own, whose pods are left alone. */
const home = 'kube-public';

const never = new AbortController().signal;

/** The roles that users are told to give it, for the tests' user: one who may do no more. */
async function allow({ admin }: Running): Promise<void> {
  const file = await readFile(resolve(import.meta.dirname, '../../examples/webhook.yaml'), 'utf8');
  for (const document of parseAllDocuments(file)) {
    const object = objectSchema.parse(JSON.parse(JSON.stringify(document.toJS()).replaceAll('kube-system', home)));
    const { kind, metadata } = object;
    if (!/^(Cluster)?Role(Binding)?$/.test(kind)) continue;
    const place = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
    const subject = { apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: userName };
    const body = kind.endsWith('Binding') ? { ...object, subjects: [subject] } : object;
    const path = `/apis/rbac.authorization.k8s.io/v1${place}/${kind.toLowerCase()}s`;
    await admin.ask('POST', path, body).catch((error: unknown) => {
      // The embedded API has no roles; a real one has them from the test before.
      if (!(isStatus(error, 404) || isStatus(error, 409))) throw error;
    });
  }
}

/** Starts a replica on a port of its own. */
const replica = ({ proxy }: Running, port: number, own: Partial<WebhookOptions> = {}): Promise<Webhook> =>
  startWebhook(
    {
      access: accessTo(proxy),
      namespace: home,
      name,
      url: `https://127.0.0.1:${port}`,
      servicePort: 443,
      excludedNamespaces: ['kube-system'],
      podsFailurePolicy: 'Ignore',
      networksFailurePolicy: 'Fail',
      known: { builtin: new Set(builtinPlugins.map(({ type }) => type)), executed: new Set() },
      multusNamespace: 'kube-system',
      downwardApi: false,
      life: 90 * day,
      port,
      metricsPort: 0,
      address: '127.0.0.1',
      log: pino({ level: 'silent' }),
      lookEvery: 2 ** 31 - 1,
      ...own,
    },
    never,
  );

/** Takes away what an earlier test has left: neither pods nor networks. */
async function clean({ admin }: Running): Promise<void> {
  for (const resource of [mutatingWebhookConfigurations, validatingWebhookConfigurations, secrets]) {
    await admin.delete(resource, home, name).catch((error: unknown) => {
      if (!isStatus(error, 404)) throw error;
    });
  }
}

const bundleOf = (configuration: StoredObject): string =>
  Buffer.from(textAt(firstOf(configuration), 'clientConfig.caBundle'), 'base64').toString();

function firstOf(configuration: StoredObject) {
  const webhooks = configuration['webhooks'];
  assert.ok(Array.isArray(webhooks));
  return webhooks[0];
}

/** A question by one that trusts nothing but the bundle. */
async function asked(port: number, ca: string, path: string, body: string, agent?: https.Agent) {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const request = https.request({ host: '127.0.0.1', port, path, method: 'POST', ca, headers, agent: agent ?? false });
  request.end(body);
  const [response] = await once(request, 'response');
  const { socket } = response;
  const peer: unknown = socket.getPeerX509Certificate?.();
  return { status: response.statusCode, text: await text(response), peer, socket };
}

const question = (resource: string, object: JsonObject): string =>
  JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: requestOf(resource, object) });

const serialOf = (peer: unknown): string => {
  assert.ok(peer instanceof X509Certificate);
  return peer.serialNumber;
};

const answerSchema = z.object({ response: z.object({ uid: z.string(), allowed: z.boolean() }) });

onEachServer((server) => {
  test(
    'pods get the devices that their networks need, and networks that cannot work are refused',
    options,
    async () => {
      await using running = await server.start([], 'administrator');
      await clean(running);
      const { admin } = running;
      const port = await freePort();
      await using _ = await replica(running, port);
      try {
        const definition = network('vf', config({ type: 'macvlan' }));
        await admin.create({
          ...definition,
          metadata: { ...definition.metadata, annotations: { [resourceKey]: 'intel.com/vf' } },
        });
        const wanting = await untilCalled(async () => {
          const given = await admin.create(pod('a', { annotations: { [networksKey]: 'vf,vf,nothere' } }));
          if (resourcesOf(given) !== undefined) return given;
          await admin.delete(pods, 'default', 'a');
          return undefined;
        });
        assert.deepEqual(resourcesOf(wanting), { limits: { 'intel.com/vf': '2' }, requests: { 'intel.com/vf': '2' } });
        const plain = await admin.create(pod('b'));
        assert.deepEqual(resourcesOf(plain) ?? {}, {});

        const bad = network('bad', config({ type: 'macvlan', mode: 'brigde' }));
        await assert.rejects(admin.create(bad), (error: Error) => {
          assert.match(
            error.message,
            /admission webhook \\"networks\.webhook\.plexus\\" denied the request: network \\"bad\\": mode: expected bridge, private, vepa or passthru, found \\"brigde\\"|admission webhook .* denied the request: network /,
          );
          return isStatus(error, 422);
        });
        assert.equal(await admin.find(networkAttachmentDefinitions, 'default', 'bad'), undefined);
        const broken = admin.change(networkAttachmentDefinitions, 'default', 'vf', { spec: { config: '{"type":}' } });
        await assert.rejects(broken, /NetworkAttachmentDefinition default\/vf, spec\.config: line 1, column 9/);
        await admin.change(networkAttachmentDefinitions, 'default', 'vf', { metadata: { labels: { a: 'b' } } });
      } finally {
        await clean(running);
      }
    },
  );

  test(
    'replicas that start at once have one certificate, and each answers who trusts the bundle',
    options,
    async () => {
      await using running = await server.start([], 'administrator');
      await clean(running);
      const { admin } = running;
      const ports = [await freePort(), await freePort(), await freePort()] as const;
      const replicas = await Promise.all(ports.map((port) => replica(running, port)));
      try {
        const configurations = [
          await admin.get(mutatingWebhookConfigurations, '', name),
          await admin.get(validatingWebhookConfigurations, '', name),
        ];
        const [bundle = '', other] = configurations.map(bundleOf);
        assert.equal(bundle, other);
        const answers = await Promise.all(
          ports.map((port) =>
            asked(
              port,
              bundle,
              '/networks',
              question('network-attachment-definitions', network('n', config({ type: 'x' }))),
            ),
          ),
        );
        assert.equal(new Set(answers.map(({ peer }) => serialOf(peer))).size, 1);
        for (const { status, text: body } of answers) {
          assert.equal(status, 200);
          assert.deepEqual(answerSchema.parse(JSON.parse(body)).response, { uid: 'u', allowed: false });
        }
        const secret = await admin.get(secrets, home, name);
        assert.equal(textAt(secret, 'type'), 'kubernetes.io/tls');
        const data = at(secret, 'data');
        assert.ok(typeof data === 'object' && data !== null);
        assert.deepEqual(Object.keys(data).toSorted(), ['ca.crt', 'tls.crt', 'tls.key']);
      } finally {
        for (const each of replicas) await each.close();
        await clean(running);
      }
    },
  );

  test('a certificate is made anew before it ends, and nobody who has an old one is cut off', options, async () => {
    await using running = await server.start();
    await clean(running);
    await allow(running);
    const { admin } = running;
    const [first, second] = [await freePort(), await freePort()];
    // Both certificates are to be good by the clock of TLS as well.
    let now = Date.now() - 70 * day;
    const clock = { now: () => now };
    await using one = await replica(running, first, clock);
    await using two = await replica(running, second, clock);
    const bundle = async () => bundleOf(await admin.get(validatingWebhookConfigurations, '', name));
    const ask = async (port: number) => asked(port, await bundle(), '/pods', question('pods', pod('a')));
    const kept = new https.Agent({ keepAlive: true, maxSockets: 1 });
    const oldBundle = await bundle();
    const askKept = () => asked(first, oldBundle, '/pods', question('pods', pod('a')), kept);
    try {
      const before = serialOf((await ask(first)).peer);
      const { socket } = await askKept();
      now += 50 * day;
      await one.look();
      assert.equal(serialOf((await ask(first)).peer), before, 'good for two thirds of its life');

      now += 15 * day;
      await one.look();
      const [after, elsewhere] = [serialOf((await ask(first)).peer), serialOf((await ask(second)).peer)];
      assert.notEqual(after, before);
      assert.equal(elsewhere, before, 'the other replica serves the one before, which is still trusted');
      await two.look();
      assert.equal(serialOf((await ask(second)).peer), after, 'it takes the one that is kept');
      assert.equal((await bundle()).match(/BEGIN CERTIFICATE/g)?.length, 2);
      const again = await askKept();
      assert.equal(again.socket, socket, 'a connection that was open stays so');
      assert.equal(again.status, 200);

      now += 65 * day;
      await one.look();
      assert.equal((await bundle()).match(/BEGIN CERTIFICATE/g)?.length, 2, 'no more than the one before is kept');
    } finally {
      kept.destroy();
      await clean(running);
    }
  });

  test(
    'whatever goes wrong while a certificate is made anew, none is served that is not trusted',
    options,
    async () => {
      await using running = await server.start();
      await clean(running);
      await allow(running);
      const { admin, proxy } = running;
      const ports = [await freePort(), await freePort()] as const;
      let now = Date.now() - 70 * day;
      const clock = { now: () => now };
      await using one = await replica(running, ports[0], clock);
      await using two = await replica(running, ports[1], clock);
      const serials = async () => {
        const bundles = [mutatingWebhookConfigurations, validatingWebhookConfigurations].map((kind) =>
          admin.get(kind, '', name).then(bundleOf),
        );
        const asking = (await Promise.all(bundles)).flatMap((bundle) =>
          ports.map(async (port) => serialOf((await asked(port, bundle, '/pods', question('pods', pod('a')))).peer)),
        );
        return new Set(await Promise.all(asking));
      };
      const patching = (what: string) => (method: string, path: string) => method === 'PATCH' && path.includes(what);
      try {
        const [before = ''] = await serials();
        now += 65 * day;
        proxy.fault({ match: patching('/secrets/'), fail: 'InternalError' });
        await assert.rejects(one.look(), { status: 500 });
        assert.deepEqual(await serials(), new Set([before]));

        // The Secret is written, and one of the two configurations.
        proxy.fault({ match: patching('/validatingwebhookconfigurations/'), fail: 'ServiceUnavailable' });
        await assert.rejects(one.look(), { status: 503 });
        assert.deepEqual(await serials(), new Set([before]));

        await Promise.all([one.look(), two.look(), one.look()]);
        const after = await serials();
        assert.equal(after.size, 1);
        assert.ok(!after.has(before));

        // Two replicas that find an empty place at one moment, and an answer that is lost on its way.
        await admin.delete(secrets, home, name);
        proxy.fault({ match: (method, path) => method === 'POST' && path.includes('/secrets'), lost: true });
        await Promise.allSettled([one.look(), two.look()]);
        await Promise.all([one.look(), two.look()]);
        assert.equal((await serials()).size, 1);
      } finally {
        await clean(running);
      }
    },
  );

  test(
    'while no certificate can be made, the old one is served, and once it has expired it is told',
    options,
    async () => {
      await using running = await server.start();
      await clean(running);
      await allow(running);
      let now = Date.now();
      await using own = await replica(running, 0, { now: () => now, url: 'https://127.0.0.1:1' });
      const readiness = async () => (await fetch(`http://127.0.0.1:${own.metricsPort}/readyz`)).text();
      try {
        running.proxy.fault({ match: (method) => method === 'PATCH', fail: 'ServiceUnavailable', times: 2 });
        now += 65 * day;
        await assert.rejects(own.look(), { status: 503 });
        assert.equal(await readiness(), 'ok\n');
        now += 30 * day;
        await assert.rejects(own.look(), { status: 503 });
        assert.match(await readiness(), /^the certificate expired at 20.*, and none could be made\n$/);
        await own.look();
        assert.equal(await readiness(), 'ok\n');
      } finally {
        await clean(running);
      }
    },
  );

  test('without a URL, the API server is led to the Service, whose name the certificate is for', options, async () => {
    await using running = await server.start();
    await clean(running);
    await allow(running);
    const { admin } = running;
    await using _ = await replica(running, 0, { url: undefined, servicePort: 8443 });
    try {
      const pods = await admin.get(mutatingWebhookConfigurations, '', name);
      const networks = await admin.get(validatingWebhookConfigurations, '', name);
      const service = { name, namespace: home, port: 8443 };
      assert.deepEqual(at(firstOf(pods), 'clientConfig.service'), { ...service, path: '/pods' });
      assert.deepEqual(at(firstOf(networks), 'clientConfig.service'), { ...service, path: '/networks' });
      assert.deepEqual(at(firstOf(pods), 'namespaceSelector.matchExpressions'), [
        { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-system', home] },
      ]);
      const policies = [pods, networks].map((each) => textAt(firstOf(each), 'failurePolicy'));
      assert.deepEqual(policies, ['Ignore', 'Fail']);
      const { data } = z.object({ data: z.record(z.string(), z.string()) }).parse(await admin.get(secrets, home, name));
      const certificate = new X509Certificate(Buffer.from(data['tls.crt'] ?? '', 'base64'));
      assert.equal(certificate.checkHost(`${name}.${home}.svc`), `${name}.${home}.svc`);
      assert.equal(certificate.checkHost(`${name}.other.svc`), undefined);
    } finally {
      await clean(running);
    }
  });

  test(
    'what is spoilt or deleted in the cluster is put right, and what an administrator has set stays',
    options,
    async () => {
      await using running = await server.start([], 'administrator');
      await clean(running);
      const { admin } = running;
      const port = await freePort();
      await using own = await replica(running, port);
      try {
        const before = await admin.get(validatingWebhookConfigurations, '', name);
        const webhook = firstOf(before);
        assert.ok(typeof webhook === 'object' && webhook !== null && !Array.isArray(webhook));
        const { url } = z.object({ clientConfig: z.object({ url: z.string() }) }).parse(webhook).clientConfig;
        const spoilt = { ...webhook, clientConfig: { url }, failurePolicy: 'Ignore', timeoutSeconds: 3 };
        await admin.change(validatingWebhookConfigurations, '', name, { webhooks: [spoilt] });
        await own.look();
        const after = await admin.get(validatingWebhookConfigurations, '', name);
        assert.equal(bundleOf(after), bundleOf(before));
        assert.deepEqual(
          [textAt(firstOf(after), 'failurePolicy'), textAt(firstOf(after), 'timeoutSeconds')],
          ['Ignore', '3'],
        );
        const { resourceVersion } = after.metadata;
        await own.look();
        const untouched = await admin.get(validatingWebhookConfigurations, '', name);
        assert.equal(untouched.metadata.resourceVersion, resourceVersion, 'nothing is written where nothing is wrong');

        await admin.delete(mutatingWebhookConfigurations, '', name);
        await admin.change(secrets, home, name, { data: { 'tls.key': Buffer.from('x').toString('base64') } });
        await own.look();
        const made = bundleOf(await admin.get(mutatingWebhookConfigurations, '', name));
        assert.notEqual(made, bundleOf(before));
        assert.equal((await asked(port, made, '/pods', question('pods', pod('a')))).status, 200);

        await admin.delete(secrets, home, name);
        await own.look();
        const last = bundleOf(await admin.get(mutatingWebhookConfigurations, '', name));
        assert.equal((await asked(port, last, '/pods', question('pods', pod('a')))).status, 200);
      } finally {
        await clean(running);
      }
    },
  );
});

function resourcesOf(given: StoredObject): unknown {
  const containers = at(given, 'spec.containers');
  return Array.isArray(containers) ? at(containers[0], 'resources') : undefined;
}

/** An API server takes a new configuration a moment after it was written. */
async function untilCalled<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let left = 200; left > 0; left--) {
    const found = await attempt();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('the webhook was not asked');
}
