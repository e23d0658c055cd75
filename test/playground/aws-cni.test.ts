import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { addresses } from '../../src/linux/address.ts';
import { links } from '../../src/linux/link.ts';
import { neighbours } from '../../src/linux/neighbour.ts';
import { routes } from '../../src/linux/route.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { formatIP, formatPrefix } from '../../src/net/ip.ts';
import { installAwsCni } from '../../src/playground/aws-cni/install.ts';
import { testNamespace } from '../support/namespace.ts';
import { type Ended, executeIn } from './support.ts';

const options = { timeout: 60_000 };

/** The executable as it is installed, on a node of its own and for a pod of its own. */
async function setUp() {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "plx-aws-cni's-"));
  stack.defer(() => rm(directory, { recursive: true }));
  const dataDir = join(directory, 'ipamd');
  await Promise.all(['bin', 'net.d'].map((name) => mkdir(join(directory, name))));
  await installAwsCni({ binDir: join(directory, 'bin'), confDir: join(directory, 'net.d'), dataDir });
  const node = stack.use(await testNamespace());
  const pod = stack.use(await testNamespace());
  const onNode = stack.use(Rtnetlink.open(node.namespace));
  const inPod = stack.use(Rtnetlink.open(pod.namespace));
  const conflist: { readonly plugins: readonly object[] } = JSON.parse(
    await readFile(join(directory, 'net.d/10-aws.conflist'), 'utf8'),
  );

  const call = (command: string, more: { prevResult?: object; args?: string; netns?: string } = {}): Promise<Ended> => {
    const { prevResult, args = 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=sampleapp-1', netns = pod.path } = more;
    return executeIn(node.namespace, join(directory, 'bin/aws-cni'), {
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'c1',
        CNI_NETNS: netns,
        CNI_IFNAME: 'eth0',
        CNI_PATH: join(directory, 'bin'),
        CNI_ARGS: `IgnoreUnknown=1;${args}`,
      },
      stdin: JSON.stringify({ cniVersion: '0.4.0', name: 'aws-cni', ...conflist.plugins[0], prevResult }),
    });
  };
  const reserved = async (): Promise<string[]> =>
    (await readdir(join(dataDir, 'aws-cni')).catch(() => [])).filter((file) => /^\d/.test(file));
  const stack2 = stack.move();
  return { call, reserved, pod, onNode, inPod, [Symbol.asyncDispose]: () => stack2.disposeAsync() };
}

test(
  'its ADD answers as the VPC CNI does: a route table for a MAC, an interface that is not there',
  options,
  async () => {
    await using it = await setUp();
    const { status, stdout, stderr } = await it.call('ADD');
    assert.equal(status, 0, stdout + stderr);
    assert.deepEqual(JSON.parse(stdout), {
      cniVersion: '0.4.0',
      interfaces: [
        { name: 'enia3a334378a4' },
        { name: 'eth0', mac: '254', sandbox: it.pod.path },
        { name: 'dummya3a334378a4', mac: '0', sandbox: '0' },
      ],
      ips: [{ version: '4', interface: 1, address: '10.20.139.27/32' }],
      dns: {},
    });
    assert.deepEqual(await it.reserved(), ['10.20.139.27']);
  },
);

test(
  'the pod gets a /32, a gateway that no interface has, and its neighbour entry; the node a route',
  options,
  async () => {
    await using it = await setUp();
    await it.call('ADD');
    const [eth0] = await it.inPod.run(links.get({ name: 'eth0' }));
    const [host] = await it.onNode.run(links.get({ name: 'enia3a334378a4' }));
    assert.deepEqual([eth0.mtu, host.mtu, eth0.flags.up, host.flags.up], [9001, 9001, true, true]);

    const [own, ways, known] = await it.inPod.run(
      addresses.list({ index: eth0.index, family: 4 }),
      routes.list({ family: 4, index: eth0.index, table: 254 }),
      neighbours.list({ index: eth0.index, family: 4 }),
    );
    assert.deepEqual(
      own.map(({ address }) => formatPrefix(address)),
      ['10.20.139.27/32'],
    );
    assert.deepEqual(
      ways.map(({ destination, gateway }) => [destination && formatPrefix(destination), gateway && formatIP(gateway)]),
      [
        [undefined, '169.254.1.1'],
        ['169.254.1.1/32', undefined],
      ],
    );
    assert.deepEqual(
      known.map(({ ip, mac, permanent }) => [formatIP(ip), mac, permanent]),
      [['169.254.1.1', host.mac, true]],
    );
    const [back] = await it.onNode.run(routes.list({ family: 4, index: host.index, table: 254 }));
    assert.deepEqual(
      back.map(({ destination }) => destination && formatPrefix(destination)),
      ['10.20.139.27/32'],
    );
  },
);

test('DEL removes all of it, and is a success again after that, and without a namespace', options, async () => {
  await using it = await setUp();
  const [before] = await it.onNode.run(links.list());
  const added = await it.call('ADD');
  const prevResult: object = JSON.parse(added.stdout);
  for (const netns of [it.pod.path, it.pod.path, '']) {
    const { status, stdout } = await it.call('DEL', { prevResult, netns });
    assert.deepEqual([status, stdout], [0, '']);
    assert.deepEqual(await it.reserved(), []);
    assert.deepEqual((await it.onNode.run(links.list()))[0], before);
  }
});

test('DEL of a pod that it knows by its result alone removes that interface', options, async () => {
  await using it = await setUp();
  const { stdout } = await it.call('ADD');
  const { status } = await it.call('DEL', { prevResult: JSON.parse(stdout), args: 'OTHER=1', netns: '' });
  assert.equal(status, 0);
  const [outcome] = await it.onNode.settle(links.get({ name: 'enia3a334378a4' }));
  assert.equal(outcome?.ok, false);
});

test('an ADD that fails half-way leaves neither an address nor an interface', options, async () => {
  await using it = await setUp();
  await it.inPod.run(links.create({ name: 'eth0', kind: { type: 'bridge' } }));
  const before = (await it.onNode.run(links.list()))[0];
  const { status, stdout } = await it.call('ADD');
  assert.equal(status, 1);
  const error: { readonly msg: string; readonly cniVersion: string } = JSON.parse(stdout);
  assert.equal(error.cniVersion, '0.4.0');
  assert.match(error.msg, /eth0.*file exists/);
  assert.deepEqual(await it.reserved(), []);
  assert.deepEqual((await it.onNode.run(links.list()))[0], before);
});

test('without the name of a pod, there is no ADD', options, async () => {
  await using it = await setUp();
  const { status, stdout } = await it.call('ADD', { args: 'K8S_POD_NAMESPACE=default' });
  assert.equal(status, 1);
  assert.match(stdout, /"code": 4,\s+"msg": "aws-cni: CNI_ARGS lacks K8S_POD_NAME"/);
  assert.deepEqual(await it.reserved(), []);
});

test('VERSION is answered', options, async () => {
  await using it = await setUp();
  const { status, stdout } = await it.call('VERSION');
  assert.equal(status, 0);
  const answer: { readonly supportedVersions: readonly string[] } = JSON.parse(stdout);
  assert.ok(answer.supportedVersions.includes('0.4.0'));
});
