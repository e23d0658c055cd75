import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../../src/cni/json.ts';
import { becomeNodeWith } from '../../support/node.ts';
import { macvlan, type Node, startNode } from '../node.ts';

/* The NetworkAttachmentDefinition: specification v1.3 of the Network Plumbing Working Group, section 3. */

becomeNodeWith('ens5', 'ens6');

/** A configuration of the plugin that keeps what it is given. */
const kept = (keys: JsonObject = {}): JsonObject => ({ cniVersion: '1.0.0', type: 'faulty', ...keys });

const withName = (name: string, keys: JsonObject = {}): JsonObject => ({ name, ...kept(keys) });

interface Given {
  readonly section: string;
  readonly what: string;
  /** spec.config of net-a. */
  readonly config: JsonObject | string;
  /** Files of confDir. */
  readonly files?: Readonly<Record<string, JsonObject | string>>;
}

async function prepared({ config, files = {} }: Given): Promise<Node> {
  const node = await startNode(() => ({ networks: 'net-a', definitions: { 'net-a': config } }));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(node.directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return node;
}

interface Accepted extends Given {
  /** What its plugins are given, in order, as far as it counts. */
  readonly plugins: readonly JsonObject[];
}

const accepted: readonly Accepted[] = [
  { section: '3.2.1', what: 'one plugin', config: withName('blue', { own: 1 }), plugins: [{ name: 'blue', own: 1 }] },
  {
    section: '3.2.2',
    what: 'a list of plugins',
    config: {
      cniVersion: '0.4.0',
      name: 'blue',
      plugins: [
        { type: 'faulty', own: 1 },
        { type: 'faulty', own: 2 },
      ],
    },
    plugins: [
      { name: 'blue', cniVersion: '0.4.0', own: 1 },
      { name: 'blue', cniVersion: '0.4.0', own: 2 },
    ],
  },
  { section: '3.4.2', what: "a missing name is the definition's", config: kept(), plugins: [{ name: 'net-a' }] },
  {
    section: '3.4.2',
    what: "and so is a list's",
    config: { cniVersion: '1.0.0', plugins: [{ type: 'faulty' }] },
    plugins: [{ name: 'net-a' }],
  },
  { section: '3.4.3', what: "a name need not be the definition's", config: withName('x'), plugins: [{ name: 'x' }] },
  {
    section: '3.4.1',
    what: 'an empty configuration is the list of its name in confDir',
    config: '',
    files: { '10-a.conflist': { cniVersion: '1.0.0', name: 'net-a', plugins: [{ type: 'faulty', own: 1 }] } },
    plugins: [{ name: 'net-a', own: 1 }],
  },
  {
    section: '3.4.1',
    what: 'one of blanks as well, and a single plugin',
    config: ' \n',
    files: { '10-a.conf': withName('net-a', { own: 1 }) },
    plugins: [{ own: 1 }],
  },
  {
    section: '3.4.1',
    what: 'lists come before plugins, and .conf before .json, whatever the files are called',
    config: '',
    files: {
      '10-a.json': withName('net-a', { own: 'json' }),
      '20-a.conf': withName('net-a', { own: 'conf' }),
      '30-a.conflist': { cniVersion: '1.0.0', name: 'net-a', plugins: [{ type: 'faulty', own: 'list' }] },
    },
    plugins: [{ own: 'list' }],
  },
  {
    section: '3.4.1',
    what: 'of two files of a kind the first by name',
    config: '',
    files: { '20-a.conf': withName('net-a', { own: 2 }), '10-a.conf': withName('net-a', { own: 1 }) },
    plugins: [{ own: 1 }],
  },
  {
    section: '3.4.1',
    what: "another network's file that cannot be read does no harm",
    config: '',
    files: { '00-broken.conflist': '{', '10-a.conf': withName('net-a', { own: 1 }) },
    plugins: [{ own: 1 }],
  },
  {
    section: '3.4.1',
    what: 'a configuration counts before a file of its name',
    config: kept({ own: 'object' }),
    files: { '10-a.conf': withName('net-a', { own: 'file' }) },
    plugins: [{ own: 'object' }],
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'without a version it is 0.1.0',
    config: { type: 'faulty' },
    plugins: [{ cniVersion: '0.1.0' }],
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'of several versions the newest that is known',
    config: kept({ cniVersion: '0.4.0', cniVersions: ['1.0.0', '9.0.0'] }),
    plugins: [{ cniVersion: '1.0.0' }],
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'keys in any case and keys that nobody knows are passed on as they are',
    config: '{"CniVersion":"1.0.0","Type":"faulty","x-unknown":{"__proto__":1}}',
    plugins: [{ cniVersion: '1.0.0', 'x-unknown': JSON.parse('{"__proto__":1}') }],
  },
];

const titled = (section: string): string => (section.startsWith('CNI') ? section : `NPWG v1.3 §${section}`);

describe('a definition is attached', () => {
  for (const given of accepted) {
    test(`${titled(given.section)}: ${given.what}`, async () => {
      await using node = await prepared(given);
      const before = await node.state();
      await node.add();
      assert.equal(node.configs.length, given.plugins.length);
      for (const [place, expected] of given.plugins.entries()) {
        assert.partialDeepStrictEqual(node.configs[place], expected);
      }
      assert.partialDeepStrictEqual(node.networkStatus()[1], { name: 'default/net-a', interface: 'net1' });
      await node.remove();
      assert.deepEqual(await node.state(), before);
    });
  }
});

interface Refused extends Given {
  readonly code: number;
  /** What the event says, after "FailedAddingInterface: ". */
  readonly event: RegExp;
  /** Attachments that were made, and taken back, before it was found. */
  readonly made?: number;
}

const source = 'NetworkAttachmentDefinition default\\/net-a, spec\\.config';

const refused: readonly Refused[] = [
  {
    section: '3.4.1',
    what: 'an empty configuration that no file has the name of',
    config: '',
    files: { '10-b.conf': withName('net-b') },
    code: 7,
    event: new RegExp(
      `^${source} is empty, and no configuration in \\S+ is named "net-a" \\(write the configuration into spec\\.config, or into a file of \\S+ on each node\\)$`,
    ),
  },
  {
    section: '3.4.1',
    what: 'and where the file is broken, that file is told',
    config: '',
    files: { '10-a.conflist': '{"name":"net-a",' },
    code: 6,
    event:
      /^no configuration in \S+ that can be read is named "net-a": \S+10-a\.conflist: line 1, column 17: expected a key in double quotes.*\(correct those files on the node, or take them away\)$/,
  },
  {
    section: '3.2',
    what: 'no JSON',
    config: 'net-a',
    code: 6,
    event: new RegExp(`^${source}: line 1, column 1: expected a value`),
  },
  {
    section: '3.2',
    what: 'no object',
    config: '[]',
    code: 6,
    event: new RegExp(`^${source}: expected a JSON object, found \\[\\]`),
  },
  {
    section: '3.2',
    what: 'JSON with a comma too many',
    config: '{"type":"faulty",}',
    code: 6,
    event: new RegExp(`^${source}: line 1, column 18: expected a key in double quotes, found }`),
  },
  {
    section: '3.2',
    what: 'neither a plugin nor a list',
    config: { cniVersion: '1.0.0' },
    code: 7,
    event: new RegExp(
      `^${source}: expected plugins, a list of plugins, or type, the name of the only one; found neither`,
    ),
  },
  {
    section: '3.2.2',
    what: 'an empty list of plugins',
    config: { cniVersion: '1.0.0', plugins: [] },
    code: 7,
    event: new RegExp(`^${source}: plugins: expected at least one plugin, found \\[\\]`),
  },
  {
    section: '3.2.2',
    what: 'null in the list',
    config: { cniVersion: '1.0.0', plugins: [null] },
    code: 7,
    event: new RegExp(`^${source}: plugins\\[0\\]: expected an object, found null`),
  },
  {
    section: '3.2.2',
    what: 'a plugin that is a path',
    config: kept({ type: '../../bin/sh' }),
    code: 7,
    event: new RegExp(`^${source}: type: expected the name of a plugin, without a slash, found "\\.\\./\\.\\./bin/sh"`),
  },
  {
    section: '3.2.2',
    what: 'more plugins than any chain has',
    config: { cniVersion: '1.0.0', plugins: Array(33).fill({ type: 'faulty' }) },
    code: 7,
    event: new RegExp(`^${source}: plugins: expected at most 32 plugins`),
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'a version that nobody here knows',
    config: kept({ cniVersion: '2.0.0' }),
    code: 1,
    event: new RegExp(`^${source}: expected a cniVersion of 0\\.1\\.0, .*1\\.1\\.0, found 2\\.0\\.0`),
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'a version that is none',
    config: kept({ cniVersion: 'latest' }),
    code: 1,
    event: new RegExp(`^${source}: expected a cniVersion of 0\\.1\\.0, .*1\\.1\\.0, found latest`),
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'a name that no directory can have',
    config: withName('../../etc'),
    code: 7,
    event: new RegExp(`^${source}: invalid characters found in network name`),
  },
  {
    section: 'CNI 1.1.0 §1',
    what: 'a capability that is no switch',
    config: kept({ capabilities: { ips: 'yes' } }),
    code: 7,
    event: new RegExp(`^${source}: capabilities\\.ips: expected true or false, found "yes"`),
  },
  {
    section: '3.4',
    what: 'a plugin that is not installed',
    config: kept({ type: 'no-such-plugin' }),
    code: 999,
    made: 1,
    event: /^network default\/net-a, interface net1: .*failed to find plugin "no-such-plugin" in path/,
  },
  {
    section: '3.4',
    what: 'a network that would attach pods to networks',
    config: kept({ type: 'multus' }),
    code: 7,
    event: /^network "net-a": type: expected a network plugin, found "multus", which attaches pods to networks/,
  },
];

describe('a definition is refused', () => {
  for (const given of refused) {
    test(`${titled(given.section)}: ${given.what}`, async () => {
      await using node = await prepared(given);
      const before = await node.state();
      await assert.rejects(node.add(), { code: given.code });
      const events = await node.events((given.made ?? 0) + 1);
      assert.match((events.at(-1) ?? '').replace('FailedAddingInterface: ', ''), given.event);
      assert.deepEqual(await node.state(), before);
      assert.deepEqual(node.networkStatus(), []);
    });
  }
});

test('NPWG v1.3 §4.2: two definitions of one network are two attachments, with an address each', async () => {
  await using node = await startNode((ipam) => ({
    networks: 'net-a,net-b,net-a',
    definitions: {
      'net-a': macvlan(ipam, '10.1.0.0/24', { name: 'shared' }),
      'net-b': macvlan(ipam, '10.1.0.0/24', { name: 'shared' }),
    },
  }));
  const before = await node.state();
  await node.add();
  assert.deepEqual(
    node
      .networkStatus()
      .slice(1)
      .map(({ name, interface: ifName, ips }) => [name, ifName, ips]),
    [
      ['default/net-a', 'net1', ['10.1.0.2']],
      ['default/net-b', 'net2', ['10.1.0.3']],
      ['default/net-a', 'net3', ['10.1.0.4']],
    ],
  );
  await node.remove();
  assert.deepEqual(await node.state(), before);
});

test('NPWG v1.3 §4.1.2.1.1: a definition that is not there is told by the event that Multus tells it by', async () => {
  await using node = await startNode((ipam) => ({
    networks: 'other/net-x',
    definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
  }));
  await assert.rejects(node.add(), { code: 7 });
  assert.deepEqual(await node.events(1), [
    'NoNetworkFound: cannot find a network-attachment-definition (net-x) in namespace (other): the namespace has none ' +
      '(correct the name in the annotation of the pod, as namespace/name for one of another namespace, or create it)',
  ]);
});
