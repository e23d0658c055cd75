import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { z } from 'zod';
import { networkAttachmentDefinitions, pods } from '../../src/playground/api/resources.ts';
import { type Api, type ApiOptions, startApi } from '../../src/playground/api/server.ts';
import { testDirectory } from '../support/directory.ts';
import { network, pod } from './manifests.ts';

const options = { timeout: 60_000 };
const run = promisify(execFile);

/** Builds of others than Kubernetes itself write "32+". */
const minorSchema = z
  .string()
  .regex(/^\d+\+?$/)
  .transform((text) => Number.parseInt(text, 10));

const versionSchema = z.object({ clientVersion: z.object({ minor: minorSchema }) });

/** Of kubectl, whose major version is 1. */
let minor: number;

before(async () => {
  const said = await run('kubectl', ['version', '--client', '--output', 'json']).catch((cause: unknown) => {
    throw new Error('these tests need kubectl; `make test` installs it', { cause });
  });
  minor = versionSchema.parse(JSON.parse(said.stdout)).clientVersion.minor;
});

/** An embedded API, and kubectl as a user would run it against that. */
async function withKubectl(apiOptions: ApiOptions) {
  const api = await startApi(apiOptions);
  const home = await testDirectory();
  const kubeconfig = join(home.path, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig());
  const env = { ...process.env, HOME: home.path, KUBECONFIG: kubeconfig, LC_ALL: 'C.UTF-8' };
  return {
    api,
    home: home.path,
    env,
    /** What it prints, on both outputs, and its exit status. */
    kubectl: async (...args: string[]): Promise<string> => {
      try {
        const { stdout, stderr } = await run('kubectl', args, { env });
        return stdout + stderr;
      } catch (error) {
        assert.ok(error instanceof Error && 'stdout' in error && 'stderr' in error && 'code' in error, String(error));
        return `${error.stdout}${error.stderr}exit ${error.code}\n`;
      }
    },
    async [Symbol.asyncDispose]() {
      await api.close();
      await home[Symbol.asyncDispose]();
    },
  };
}

const node = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node-1', labels: { 'node-role.kubernetes.io/worker': '' } },
  status: {
    conditions: [{ type: 'Ready', status: 'True' }],
    addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
    nodeInfo: { kubeletVersion: 'v1.32.0', osImage: 'Debian', kernelVersion: '6.1', containerRuntimeVersion: 'x://1' },
  },
};

const objects = [
  node,
  pod('a', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'net-a' } }),
  { ...pod('b', { namespace: 'team' }), status: { phase: 'Running', podIP: '10.0.0.7' } },
  network('net-a', '{"type":"macvlan"}'),
];

/** Two events of pod a, the second one of which happened three times. */
function addEvents(api: Api): void {
  const { uid } = api.store.get(pods, 'default', 'a').metadata;
  const ago = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString();
  const event = {
    apiVersion: 'v1',
    kind: 'Event',
    involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace: 'default', name: 'a', uid },
    type: 'Normal',
    reason: 'AddedInterface',
    source: { component: 'multus', host: 'node-1' },
  };
  const first = { message: 'Add eth0 [10.0.0.2/32] from aws-cni', count: 1 };
  const second = { message: 'Add net1 [10.1.0.2/24] from default/net-a', count: 3 };
  api.store.create({
    ...event,
    ...first,
    metadata: { name: 'a.1' },
    firstTimestamp: ago(900),
    lastTimestamp: ago(900),
  });
  api.store.create({
    ...event,
    ...second,
    metadata: { name: 'a.2' },
    firstTimestamp: ago(900),
    lastTimestamp: ago(600),
  });
}

/** Columns are told apart by spaces; an age is whatever the clock says. */
function shaped(output: string): string {
  return output
    .replaceAll(/\b\d+s\b/g, 'AGE')
    .replaceAll(/[^\S\n]+/g, ' ')
    .replaceAll(/ $/gm, '')
    .trim();
}

/** What users type, what they then read, and which minor version of kubectl was the first to know it. */
const commands: ReadonlyArray<readonly [command: string, output: string, since?: number]> = [
  ['get pods', 'NAME READY STATUS RESTARTS AGE\na 0/1 Pending 0 AGE'],
  [
    'get pods -o wide',
    'NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES\na 0/1 Pending 0 AGE <none> node-1 <none> <none>',
  ],
  ['get po -A', 'NAMESPACE NAME READY STATUS RESTARTS AGE\ndefault a 0/1 Pending 0 AGE\nteam b 0/1 Running 0 AGE'],
  ['get pods --all-namespaces --field-selector spec.nodeName=node-1,metadata.name!=a -o name', 'pod/b'],
  ['get pods -n team -o jsonpath={.items[*].status.podIP}', '10.0.0.7'],
  ['get pods -n nowhere', 'No resources found in nowhere namespace.'],
  ['get pod nope', 'Error from server (NotFound): pods "nope" not found\nexit 1'],
  ['get pods -l app=x', 'No resources found in default namespace.'],
  ['get nodes', 'NAME STATUS ROLES AGE VERSION\nnode-1 Ready worker AGE v1.32.0'],
  [
    'get nodes -o wide',
    'NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME\nnode-1 Ready worker AGE v1.32.0 10.0.0.1 <none> Debian 6.1 x://1',
  ],
  ['get ns team', 'NAME STATUS AGE\nteam Active AGE'],
  ['get network-attachment-definitions', 'NAME AGE\nnet-a AGE'],
  ['get net-attach-def -A', 'NAMESPACE NAME AGE\ndefault net-a AGE'],
  ['get net-attach-def.k8s.cni.cncf.io net-a -o jsonpath={.spec.config}', '{"type":"macvlan"}'],
  [
    'get events',
    'LAST SEEN TYPE REASON OBJECT MESSAGE\n15m Normal AddedInterface pod/a Add eth0 [10.0.0.2/32] from aws-cni\n10m Normal AddedInterface pod/a Add net1 [10.1.0.2/24] from default/net-a',
  ],
  ['get events --field-selector involvedObject.name=b', 'No resources found in default namespace.'],
  [
    'events --for pod/a',
    'LAST SEEN TYPE REASON OBJECT MESSAGE\n15m Normal AddedInterface Pod/a Add eth0 [10.0.0.2/32] from aws-cni\n10m (x3 over 15m) Normal AddedInterface Pod/a Add net1 [10.1.0.2/24] from default/net-a',
    26,
  ],
  ['annotate pod a x=y', 'pod/a annotated'],
  ['label pod a app=web', 'pod/a labeled'],
  ['get pods -l app=web,app!=x --show-labels', 'NAME READY STATUS RESTARTS AGE LABELS\na 0/1 Pending 0 AGE app=web'],
  ['get pod a -o jsonpath={.metadata.annotations.x}', 'y'],
  ['annotate pod a x-', 'pod/a annotated'],
  ['patch pod a --type json -p [{"op":"add","path":"/metadata/labels/b","value":"c"}]', 'pod/a patched'],
  ['patch pod a --subresource status --type merge -p {"status":{"phase":"Running"}}', 'pod/a patched', 24],
  ['wait pod/a --for jsonpath={.status.phase}=Running --timeout 10s', 'pod/a condition met', 24],
  ['get pods,nodes -o name', 'pod/a\nnode/node-1'],
  ['delete pod a', 'pod "a" deleted'],
  ['delete pod a', 'Error from server (NotFound): pods "a" not found\nexit 1'],
  ['delete net-attach-def --all', 'networkattachmentdefinition.k8s.cni.cncf.io "net-a" deleted'],
  ['get pods', 'No resources found in default namespace.'],
];

test('kubectl says what it says of any cluster', options, async (t) => {
  await using running = await withKubectl({ objects });
  addEvents(running.api);
  for (const [command, output, since = 0] of commands) {
    const skip = minor < since && `this is kubectl 1.${minor}`;
    await t.test(`kubectl ${command}`, { skip }, async () => {
      // Newer versions say of which namespace they deleted something.
      const said = shaped(await running.kubectl(...command.split(' '))).replace(/(deleted) from \S+ namespace$/, '$1');
      assert.equal(said, output);
    });
  }
});

test('kubectl get -o yaml and -o json give the whole object', options, async () => {
  await using running = await withKubectl({ objects });
  const { api, kubectl } = running;
  const stored = api.store.get(pods, 'default', 'a');
  assert.deepEqual(JSON.parse(await kubectl('get', 'pod', 'a', '-o', 'json')), JSON.parse(JSON.stringify(stored)));
  assert.match(await kubectl('get', 'pod', 'a', '-o', 'yaml'), new RegExp(`^ {2}uid: ${stored.metadata.uid}$`, 'm'));
});

test('kubectl describe pod shows annotations and events', options, async () => {
  await using running = await withKubectl({ objects });
  const { api, kubectl } = running;
  addEvents(api);
  const text = await kubectl('describe', 'pod', 'a');
  assert.match(text, /^Name: +a\nNamespace: +default\n/);
  assert.match(text, /^Annotations: +k8s\.v1\.cni\.cncf\.io\/networks: net-a$/m);
  const said = shaped(text.slice(text.indexOf('Events:')));
  assert.equal(
    said,
    [
      'Events:',
      ' Type Reason Age From Message',
      ' ---- ------ ---- ---- -------',
      ' Normal AddedInterface 15m multus Add eth0 [10.0.0.2/32] from aws-cni',
      ' Normal AddedInterface 10m (x3 over 15m) multus Add net1 [10.1.0.2/24] from default/net-a',
    ].join('\n'),
  );
  assert.match(await kubectl('describe', 'net-attach-def', 'net-a'), /^ {2}Config: +\{"type":"macvlan"\}$/m);
});

test('kubectl apply creates, leaves, changes within lists and takes back', options, async () => {
  await using running = await withKubectl({ objects: [] });
  const { api, kubectl, home } = running;
  const file = join(home, 'all.yaml');
  const apply = async (...all: object[]): Promise<string> => {
    await writeFile(file, all.map((each) => stringify(each)).join('---\n'));
    return kubectl('apply', '-f', file);
  };
  const spec = (image: string, more: object = {}) => ({
    ...pod('a'),
    spec: {
      containers: [
        { name: 'main', image, ...more },
        { name: 'side', image: 'side:1' },
      ],
    },
  });
  const nad = 'networkattachmentdefinition.k8s.cni.cncf.io/net-a';
  assert.equal(
    await apply(network('net-a', '1'), spec('main:1', { command: ['x'] })),
    `${nad} created\npod/a created\n`,
  );
  assert.equal(
    await apply(network('net-a', '1'), spec('main:1', { command: ['x'] })),
    `${nad} unchanged\npod/a unchanged\n`,
  );

  // What somebody else wrote meanwhile stays.
  const before = api.store.get(pods, 'default', 'a');
  api.store.update({
    ...before,
    metadata: { ...before.metadata, annotations: { ...before.metadata.annotations, own: 'kept' } },
  });
  assert.equal(await apply(network('net-a', '2'), spec('main:2')), `${nad} configured\npod/a configured\n`);
  const after = api.store.get(pods, 'default', 'a');
  assert.deepEqual(after['spec'], {
    containers: [
      { name: 'main', image: 'main:2' },
      { name: 'side', image: 'side:1' },
    ],
  });
  assert.equal(after.metadata.annotations?.['own'], 'kept');
  assert.deepEqual(api.store.get(networkAttachmentDefinitions, 'default', 'net-a')['spec'], { config: '2' });
  assert.match(await kubectl('delete', '-f', file), /"net-a" deleted.*\npod "a" deleted/);
  assert.deepEqual(api.store.list(pods), []);
});

/** Starts kubectl, and reads its lines until `enough` of them have come; `seen` is called with each. */
async function followed(
  running: Awaited<ReturnType<typeof withKubectl>>,
  args: readonly string[],
  enough: number,
  seen: (lines: readonly string[]) => void,
): Promise<string[]> {
  const child = spawn('kubectl', args, { env: running.env, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  try {
    let rest = '';
    for await (const chunk of child.stdout) {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) {
        lines.push(shaped(line));
        seen(lines);
      }
      if (lines.length >= enough) break;
    }
  } finally {
    child.kill();
  }
  return lines;
}

test('kubectl get pods -w follows what happens', options, async () => {
  await using running = await withKubectl({ objects });
  const { api } = running;
  const lines = await followed(running, ['get', 'pods', '-w'], 5, (all) => {
    if (all.length === 2)
      api.store.update({ ...api.store.get(pods, 'default', 'a'), status: { phase: 'Running' } }, 'status');
    if (all.length === 3) api.store.create(pod('c'));
    if (all.length === 4) api.store.delete(pods, 'default', 'a');
  });
  assert.deepEqual(lines, [
    'NAME READY STATUS RESTARTS AGE',
    'a 0/1 Pending 0 AGE',
    'a 0/1 Running 0 AGE',
    'c 0/1 Pending 0 AGE',
    'a 0/1 Running 0 AGE',
  ]);
});

test('kubectl get events -w shows each as it comes', options, async () => {
  await using running = await withKubectl({ objects });
  const { api } = running;
  api.store.create({
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: 'first' },
    involvedObject: {},
    message: 'first',
  });
  const lines = await followed(running, ['get', 'events', '-w'], 4, (all) => {
    if (all.length === 2) addEvents(api);
  });
  assert.deepEqual(lines.slice(2), [
    '15m Normal AddedInterface pod/a Add eth0 [10.0.0.2/32] from aws-cni',
    '10m Normal AddedInterface pod/a Add net1 [10.1.0.2/24] from default/net-a',
  ]);
});
