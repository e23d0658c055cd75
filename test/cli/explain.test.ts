import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import type { JsonObject } from '../../src/cni/json.ts';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import { events as eventsResource } from '../../src/playground/api/resources.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { ip } from '../plugins/support.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';
import { ended, run, start } from './plexus.ts';

const timeout = 60_000;

const config = (rest: JsonObject): string => JSON.stringify({ cniVersion: '1.0.0', ...rest });

const blue = network(
  'blue',
  config({
    type: 'macvlan',
    master: 'ens6',
    capabilities: { ips: true },
    ipam: { type: 'host-local', subnet: '10.1.0.0/24', rangeEnd: '10.1.0.9', routes: [{ dst: '10.9.0.0/16' }] },
  }),
);
const red = network(
  'red',
  config({ type: 'bridge', ipam: { type: 'static', addresses: [{ address: '10.2.0.5/24' }] } }),
);

const asking = (networks: JsonObject[] | string) =>
  pod('a', {
    annotations: { 'k8s.v1.cni.cncf.io/networks': typeof networks === 'string' ? networks : JSON.stringify(networks) },
  });

/** A directory with the manifests of objects, and what is said of them. */
async function manifests(objects: readonly KubernetesObject[]) {
  const directory = await testDirectory();
  const file = join(directory.path, 'manifests.yaml');
  await writeFile(file, objects.map((object) => JSON.stringify(object)).join('\n---\n'));
  return {
    directory: directory.path,
    file,
    explain: (...args: readonly string[]) => run(['explain', '-f', file, ...args]),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

/** The problems that are told below the table. */
const problems = (stdout: string): string[] =>
  stdout.split('\n').flatMap((line) => /^PROBLEM {2}(.*)$/.exec(line)?.[1] ?? []);

describe('plexus explain', { timeout }, () => {
  test('draws and lists each interface that a pod would get, in order', async () => {
    await using it = await manifests([
      blue,
      red,
      asking([{ name: 'red' }, { name: 'blue', interface: 'data0', ips: ['10.1.0.7'], 'default-route': ['10.1.0.1'] }]),
    ]);
    const { status, stdout, stderr } = await it.explain();
    assert.equal(status, 0, stdout + stderr);
    assert.deepEqual(stdout.split('\n'), [
      '╭─ pod default/a ─────╮                    ╭─ node ─╮    ╭─ cluster-network ─╮',
      '│ eth0   no address   ├── unknown ─────────┼────────┼────┤ cluster network   │',
      '│                     │                    │        │    ╰───────────────────╯',
      '│                     │                    │        │    ╭─ default/red ─────╮',
      '│ net1   10.2.0.5/24  ├── veth ────────────┤ cni0   ├────┤ 10.2.0.0/24       │',
      '│                     │                    │        │    ╰───────────────────╯',
      '│                     │                    │        │    ╭─ default/blue ────╮',
      '│ data0  10.1.0.7     ├── macvlan bridge ──┤ ens6   ├────┤ 10.1.0.0/24       │',
      '│                     │                    │        │    │ 10.9.0.0/16       │',
      '╰─────────────────────╯                    ╰────────╯    ╰───────────────────╯',
      '',
      'INTERFACE   NETWORK           PLUGINS     IPAM         ADDRESSES           REQUESTED          DEFAULT ROUTE',
      'eth0        cluster-network   <unknown>   <none>       <none>              <none>             IPv6, as the network has it',
      'net1        default/red       bridge      static       10.2.0.5/24         <none>             <none>',
      'data0       default/blue      macvlan     host-local   10.1.0.1-10.1.0.9   ips=["10.1.0.7"]   via 10.1.0.1',
      '',
      'No problem was found.',
      '',
    ]);
  });

  test('prints a document whose fields can be relied on', async () => {
    await using it = await manifests([blue, asking([{ name: 'blue', ips: ['10.1.0.7'], 'default-route': [] }])]);
    const json = JSON.parse((await it.explain('-o', 'json')).stdout);
    assert.deepEqual(json, {
      apiVersion: 'plexus/v1',
      kind: 'PodPlanList',
      items: [
        {
          pod: 'default/a',
          interfaces: [
            { interface: 'eth0', network: 'cluster-network', default: true, requested: {}, cniArgs: {}, problems: [] },
            {
              interface: 'net1',
              network: 'default/blue',
              default: false,
              source: 'NetworkAttachmentDefinition default/blue, spec.config',
              plugins: ['macvlan'],
              ipam: 'host-local',
              addresses: ['10.1.0.1-10.1.0.9'],
              routes: ['10.9.0.0/16'],
              master: 'ens6',
              requested: { ips: ['10.1.0.7'] },
              cniArgs: {},
              defaultRoute: [],
              problems: [],
            },
          ],
          problems: [],
        },
      ],
    });
    assert.deepEqual(parse((await it.explain('-o', 'yaml')).stdout), json);
    assert.match((await it.explain('-o', 'wide')).stdout, / MASTER +ROUTES +SOURCE\n/);
  });

  test('tells every problem, not only the first', async () => {
    await using it = await manifests([
      network(
        'wrong',
        config({ type: 'macvlan', mode: 'brigde', ipam: { type: 'host-local', subnet: '10.1.0.0/33' } }),
      ),
      network('broken', '{"type":}'),
      network('self', config({ type: 'multus' })),
      blue,
      asking([
        { name: 'blue', ips: ['10.1.0.77'] },
        { name: 'nothere' },
        { name: 'wrong' },
        { name: 'wrong', mac: '02:00:00:00:00:01', 'device-id': '0000:01:00.0' },
        { name: 'broken', interface: 'data0' },
        { name: 'self' },
        { name: 'blue', interface: 'eth0' },
      ]),
    ]);
    const { status, stdout, stderr } = await it.explain();
    assert.equal(status, 1, stderr);
    const expected = [
      /^interface name eth0 already exists: two of the pod's networks would have it \(give /,
      /^net1: the pod asks for 10\.1\.0\.77, which is in no range of the network$/,
      /^net2: cannot find a network-attachment-definition \(nothere\) in namespace \(default\): the namespace has blue, broken, self, wrong \(correct the name /,
      /^net3: network "wrong": mode: expected bridge, private, vepa or passthru, found "brigde"$/,
      /^net3: .*ipam\.subnet: .*10\.1\.0\.0\/33/,
      /^net4: network default\/wrong: the pod asks for "mac" and "device-id", but no plugin of the network \(macvlan\) declares /,
      /^net4: network "wrong": mode: /,
      /^net4: .*ipam\.subnet: /,
      /^data0: .*default\/broken, spec\.config: line 1, column 9: expected a value/,
      /^net6: network "self": type: expected a network plugin, found "multus"/,
    ];
    const told = problems(stdout);
    assert.equal(told.length, expected.length, stdout);
    for (const [index, pattern] of expected.entries()) assert.match(told[index] ?? '', pattern);
  });

  const annotations: readonly [name: string, annotation: JsonObject[] | string, problem: RegExp][] = [
    [
      'each item of the comma form',
      'A, blue, b@c@d',
      /^annotation .*: item 1, "A": name: expected the name of .*; item 3, "b@c@d": expected \[namespace\/\]name\[@interface\] \(correct the annotation /,
    ],
    [
      'each element of the JSON form',
      [
        { name: 'blue', mac: 'x' },
        { name: 'blue', ips: ['y'] },
      ],
      /^annotation .*: \[0\]\.mac: expected the MAC address.*; \[1\]\.ips\[0\]: expected an IP address /,
    ],
    [
      'two that want one default route',
      [
        { name: 'blue', 'default-route': ['10.1.0.1'] },
        { name: 'blue', 'default-route': ['10.1.0.2'] },
      ],
      /^annotation .*: the default route for IPv4 is asked for by default\/blue and default\/blue, and one may have it /,
    ],
  ];
  for (const [name, annotation, problem] of annotations) {
    test(`tells what is wrong with an annotation as a whole: ${name}`, async () => {
      await using it = await manifests([blue, asking(annotation)]);
      const { status, stdout } = await it.explain();
      assert.equal(status, 1);
      const [told = '', ...more] = problems(stdout);
      assert.match(told, problem);
      assert.deepEqual(more, []);
    });
  }

  test('takes pods and networks from the cluster, and those that manifests lack', async () => {
    await using api = await startApi({
      objects: [blue, { ...asking('blue'), metadata: { ...asking('blue').metadata, name: 'b' } }],
    });
    await using it = await manifests([red, asking('blue,red')]);
    const kubeconfig = join(it.directory, 'kubeconfig');
    await writeFile(kubeconfig, api.kubeconfig());
    const named = await run(['explain', 'b', '--kubeconfig', kubeconfig]);
    assert.match(named.stdout, /^net1 +default\/blue +macvlan/m);
    const found = await ended(start(['explain', 'default/b'], undefined, { KUBECONFIG: kubeconfig }));
    assert.deepEqual([found.status, found.stdout], [0, named.stdout], found.stderr);
    const both = await it.explain('--kubeconfig', kubeconfig);
    assert.equal(both.status, 0, both.stdout);
    assert.match(both.stdout, /^net1 +default\/blue +macvlan.*\nnet2 +default\/red +bridge/m);
    assert.match(
      (await run(['explain', 'c', '--kubeconfig', kubeconfig])).stderr,
      /^plexus: pod default\/c does not exist$/m,
    );
    assert.equal(api.store.list(eventsResource).length, 0);
  });

  test('looks at the node, where it is one: its default network, interfaces and plugins', async () => {
    await using it = await manifests([blue, network('far', config({ type: 'nosuch' })), asking('blue,far')]);
    await using namespace = await testNamespace();
    // As every node has it: the manifests are looked up over it.
    await ip(namespace.path, 'link', 'set', 'lo', 'up');
    const at = (name: string): string => join(it.directory, name);
    for (const name of ['net.d', 'bin']) await mkdir(at(name));
    await writeFile(
      at('net.d/00-plexus.conf'),
      JSON.stringify({ cniVersion: '1.0.0', name: 'plexus', type: 'plexus', clusterNetwork: 'main' }),
    );
    const main = {
      cniVersion: '1.0.0',
      name: 'main',
      plugins: [{ type: 'ptp', ipam: { type: 'host-local', subnet: '10.8.0.0/24' } }],
    };
    await writeFile(at('net.d/10-main.conflist'), JSON.stringify(main));
    await writeFile(at('daemon.json'), JSON.stringify({ cniConfigDir: at('net.d'), binDir: at('bin') }));
    const { status, stdout } = await run(
      ['explain', '-f', it.file, '--config', at('daemon.json')],
      namespace.namespace,
    );
    assert.equal(status, 1);
    assert.match(stdout, /^eth0 +main +ptp +host-local +10\.8\.0\.1-10\.8\.0\.254 +<none> +as the network has it$/m);
    assert.deepEqual(problems(stdout), [
      'net1: default/blue: master "ens6" not found; this node has no interface that could be one',
      `net2: default/far: nosuch is not built in, and failed to find plugin "nosuch" in path [${at('bin')}]`,
    ]);
  });

  test('says what it needs', async () => {
    await using it = await manifests([blue]);
    const { status, stderr } = await it.explain();
    assert.equal(status, 1);
    assert.equal(stderr, 'plexus: there is no pod to explain: name one, or give a manifest of one\n');
    const several = await ended(start(['explain', 'a'], undefined, { KUBECONFIG: '/a:/b' }));
    assert.match(several.stderr, /^plexus: KUBECONFIG names several files/);
  });
});
