import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { podLinks } from '../../src/attach/pod-links.ts';
import { encodeRequest } from '../../src/daemon/client.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { type Node, startNode } from '../attach/node.ts';
import { ip } from '../plugins/support.ts';
import { testDirectory } from '../support/directory.ts';
import { run } from './plexus.ts';

const timeout = 60_000;

/** A pod with eth0 and net1, both macvlan with addresses of host-local, on a master that is there. */
async function attachedNode(): Promise<Node> {
  const node = await startNode((ipam) => ({
    networks: 'blue',
    definitions: {
      blue: {
        cniVersion: '1.0.0',
        type: 'macvlan',
        master: 'blue0',
        linkInContainer: true,
        ipam: { ...ipam, subnet: '10.50.0.0/24', rangeStart: '10.50.0.7' },
      },
    },
    defaultNetwork: {
      cniVersion: '1.1.0',
      name: 'cluster-net',
      type: 'macvlan',
      master: 'blue0',
      linkInContainer: true,
      ipam: { ...ipam, subnet: '10.244.0.0/24' },
    },
  }));
  using netlink = Rtnetlink.open(node.sandbox.namespace);
  await netlink.run(links.create({ name: 'blue0', kind: { type: 'bridge' }, up: true }));
  await node.add();
  return node;
}

const status = (node: Node, ...args: readonly string[]) => run(['status', '--state-dir', node.directory, ...args]);

/** What must not change: the pod's interfaces, and all that is on disk. */
async function everything(node: Node): Promise<string[]> {
  const links = await podLinks(node.sandbox.path);
  const inPod = [...links.values()].map(({ name, mac, mtu }) => `${name} ${mac} ${mtu}`);
  return [...inPod, ...(await readdir(node.directory, { recursive: true }))];
}

/** The remarks below the table. */
const remarks = (stdout: string): string[] =>
  stdout.split('\n').flatMap((line) => /^DIFFERS {2}(.*)$/.exec(line)?.[1] ?? []);

async function macOf(node: Node, name: string): Promise<string> {
  using netlink = Rtnetlink.open(node.sandbox.namespace);
  const [{ mac }] = await netlink.run(links.get({ name }));
  return mac;
}

describe('plexus status', { timeout }, () => {
  test('tells what is attached where all is as the journal has it, and changes nothing', async () => {
    await using node = await attachedNode();
    const before = await everything(node);
    const all = await status(node);
    assert.equal(all.status, 0, all.stdout + all.stderr);
    assert.deepEqual(all.stdout.split('\n'), [
      'POD           INTERFACE   NETWORK        MAC                 ADDRESSES       STATE',
      `default/app   eth0        cluster-net    ${await macOf(node, 'eth0')}   10.244.0.2/24   ok`,
      `default/app   net1        default/blue   ${await macOf(node, 'net1')}   10.50.0.7/24    ok`,
      '',
    ]);
    for (const wanted of ['default/app', 'sandbox-1', 'sand']) {
      assert.equal((await status(node, wanted)).stdout, all.stdout, wanted);
    }
    const wide = await status(node, '-o', 'wide');
    assert.match(
      wide.stdout,
      /STATE {3}PLUGINS {3}MTU +SINCE +CONTAINER {3}NAMESPACE\n.* ok +macvlan {3}1500 {3}.*Z {3}sandbox-1 {3}\/run\/netns\//,
    );
    assert.deepEqual(await everything(node), before);
  });

  test('prints a document whose fields can be relied on', async () => {
    await using node = await attachedNode();
    const json = JSON.parse((await status(node, 'default/app', '-o', 'json')).stdout);
    const mac = await macOf(node, 'net1');
    const [, second] = z.object({ items: z.array(z.looseObject({ plannedAt: z.iso.datetime() })) }).parse(json).items;
    assert.deepEqual(second, {
      pod: 'default/app',
      containerId: 'sandbox-1',
      netns: node.sandbox.path,
      plannedAt: second?.plannedAt,
      interface: 'net1',
      network: 'default/blue',
      default: false,
      plugins: ['macvlan'],
      wanted: { mac, addresses: ['10.50.0.7/24'] },
      found: { mac, mtu: 1500, up: true, addresses: ['10.50.0.7/24'] },
      differences: [],
    });
    assert.deepEqual(
      { ...json, items: [] },
      { apiVersion: 'plexus/v1', kind: 'AttachmentList', items: [], unreadable: [], spooled: [], setAside: [] },
    );
    assert.deepEqual(parse((await status(node, '-o', 'yaml')).stdout), json);
  });

  const changes: readonly [name: string, change: (node: Node) => Promise<unknown>, expected: readonly RegExp[]][] = [
    [
      'an interface that is gone',
      (node) => ip(node.sandbox.path, 'link', 'delete', 'net1'),
      [/^default\/app net1: the interface is not there$/],
    ],
    [
      'an interface that is down',
      (node) => ip(node.sandbox.path, 'link', 'set', 'net1', 'down'),
      [/^default\/app net1: it is down$/],
    ],
    [
      'another MAC address',
      (node) => ip(node.sandbox.path, 'link', 'set', 'net1', 'address', '02:00:00:00:00:01'),
      [/^default\/app net1: its MAC address is 02:00:00:00:00:01, it was given ([0-9a-f]{2}:){5}[0-9a-f]{2}$/],
    ],
    [
      'an address that is gone, by its prefix as well',
      async (node) => {
        await ip(node.sandbox.path, 'address', 'add', '10.50.0.7/25', 'dev', 'net1');
        await ip(node.sandbox.path, 'address', 'delete', '10.50.0.7/24', 'dev', 'net1');
      },
      [/^default\/app net1: address 10\.50\.0\.7\/24 is not on it$/],
    ],
    [
      'a reservation that is gone, and one that is somebody else’s',
      async (node) => {
        await unlink(join(node.directory, 'networks/blue/10.50.0.7'));
        await writeFile(join(node.directory, 'networks/cluster-net/10.244.0.2'), 'other\r\neth0');
      },
      [
        /^default\/app eth0: address 10\.244\.0\.2 is reserved for container other, interface eth0 in .*\/cluster-net$/,
        /^default\/app net1: address 10\.50\.0\.7 is reserved for nobody in .*\/blue$/,
      ],
    ],
    [
      'a namespace that is gone',
      async (node) => node.sandbox[Symbol.asyncDispose](),
      [/^default\/app eth0: its namespace \S+ is gone$/, /^default\/app net1: its namespace \S+ is gone$/],
    ],
    [
      'an ADD and a DEL that never ended',
      async (node) => {
        const file = join(node.directory, 'journal/sandbox-1:eth0');
        const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => !line.includes('"complete"'));
        await writeFile(file, lines.join('\n'));
        const [plan = ''] = lines;
        const deleted = lines.join('\n').replaceAll('sandbox-1', 'sandbox-2');
        await writeFile(
          join(node.directory, 'journal/sandbox-2:eth0'),
          `${deleted}{"step":"deleted","ifName":"net1"}\n`,
        );
        await writeFile(join(node.directory, 'networks/cluster-net/10.244.0.2'), 'sandbox-1\r\neth0');
        assert.match(plan, /"plannedAt"/);
      },
      [
        /^default\/app eth0: its ADD has not ended: /,
        /^default\/app net1: its ADD has not ended: /,
        /^default\/app eth0: its DEL has not ended: this is still held$/,
        /^default\/app eth0: address 10\.244\.0\.2 is reserved for container sandbox-1, interface eth0 in /,
      ],
    ],
    [
      'a network that could not be detached while the pod runs, and no other',
      async (node) => {
        await using recording = await node.journal.resume(node.attachment);
        await recording.add({ step: 'detaching', ifName: 'net1' });
      },
      [/^default\/app net1: it is being detached, or could not be: this may still be held$/],
    ],
    [
      'a network that could not be attached while the pod runs, and no other',
      async (node) => {
        const entry = await node.journal.read(node.attachment);
        const net1 = entry?.plan.attachments.at(1);
        assert.ok(net1);
        await using recording = await node.journal.resume(node.attachment);
        await recording.add({ step: 'planned', attachment: { ...net1, ifName: 'net2' } });
      },
      [/^default\/app net2: it is being attached, or could not be taken back: this may be held$/],
    ],
    [
      'an entry that cannot be read, by its path',
      (node) => writeFile(join(node.directory, 'journal/sandbox-9:eth0'), 'x\n'),
      [/^journal entry \S+\/journal\/sandbox-9:eth0 cannot be read: line 1 is no JSON; release by hand/],
    ],
  ];
  for (const [name, change, expected] of changes) {
    test(`sees ${name}`, async () => {
      await using node = await attachedNode();
      await change(node);
      const { status: exit, stdout, stderr } = await status(node);
      assert.equal(exit, 1, stdout + stderr);
      const found = remarks(stdout);
      assert.equal(found.length, expected.length, stdout);
      for (const [index, pattern] of expected.entries()) assert.match(found[index] ?? '', pattern);
    });
  }

  test('says so where nothing is attached, where nothing was ever, and what it was asked for', async () => {
    await using directory = await testDirectory();
    const at = ['status', '--state-dir', directory.path];
    const never = await run(at);
    assert.equal(never.status, 1);
    assert.equal(
      never.stderr,
      `plexus: ${directory.path}/journal is not there: no daemon had this --state-dir on this node\n`,
    );
    assert.deepEqual(await readdir(directory.path), []);
    await using node = await attachedNode();
    const unknown = await status(node, 'default/other');
    assert.equal(unknown.status, 1);
    assert.equal(
      unknown.stderr,
      `plexus: nothing is attached on this node for default/other, by the journal in ${node.directory}\n`,
    );
    await node.remove();
    const nothing = await status(node);
    assert.deepEqual([nothing.status, nothing.stdout], [0, 'Nothing is attached.\n']);
  });

  test('lists what waits for the daemon, and what it set aside', async () => {
    await using node = await attachedNode();
    const spool = join(node.directory, 'spool');
    await mkdir(spool);
    const env = {
      CNI_COMMAND: 'DEL',
      CNI_CONTAINERID: 'sandbox-1',
      CNI_IFNAME: 'eth0',
      CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=app',
    };
    const file = join(spool, 'plexus:sandbox-1:eth0:0123456789abcdef');
    await writeFile(file, encodeRequest({ name: 'plexus', env, stdin: '{}' }));
    await utimes(file, 1_000_000_000, 1_000_000_000);
    await writeFile(join(spool, 'plexus:other:eth0:0123456789abcdef'), 'no frame');
    const line = 'WAITS    default/app eth0: DEL of plexus, for a daemon to carry out since 2001-09-09T01:46:40.000Z';
    const one = await status(node, 'default/app');
    assert.equal(one.status, 0, one.stdout + one.stderr);
    assert.deepEqual(one.stdout.split('\n').slice(3), ['', line, '']);
    const all = await status(node);
    assert.match(all.stdout, /^WAITS {4}other eth0: DEL of plexus, /m);
    const document = JSON.parse((await status(node, 'sandbox-1', '-o', 'json')).stdout);
    assert.deepEqual(document.spooled, [
      {
        command: 'DEL',
        plugin: 'plexus',
        pod: 'default/app',
        containerId: 'sandbox-1',
        interface: 'eth0',
        since: '2001-09-09T01:46:40.000Z',
      },
    ]);
    assert.deepEqual(document.setAside, []);

    const aside = join(spool, 'plexus:other:eth0:0123456789abcdef.corrupt');
    await rename(join(spool, 'plexus:other:eth0:0123456789abcdef'), aside);
    const wrong = await status(node);
    assert.equal(wrong.status, 1);
    assert.deepEqual(remarks(wrong.stdout), [`${aside}: the daemon could make no sense of it; its log says why`]);
  });
});
