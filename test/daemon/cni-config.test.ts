import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseNetworkConfig } from '../../src/cni/config.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { composeConfig, type Wishes } from '../../src/daemon/cni-config/compose.ts';
import { ConfigKeeper } from '../../src/daemon/cni-config/keeper.ts';
import { findMaster } from '../../src/daemon/cni-config/master.ts';
import { shimSocketDir } from '../../src/daemon/cni-config/socket-dir.ts';
import { writeAtomically } from '../../src/linux/atomic-file.ts';
import { fakePlugin } from '../cni/support.ts';
import { until } from '../kubernetes/playground.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog } from './log.ts';
import { startNode } from './node.ts';

const timeout = 30_000;

const awsCni = {
  cniVersion: '0.4.0',
  name: 'aws-cni',
  disableCheck: true,
  plugins: [
    { type: 'aws-cni', capabilities: { 'io.kubernetes.cri.pod-annotations': true } },
    { type: 'egress-cni', capabilities: { off: false } },
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
  ],
};

const wishes: Wishes = {
  name: undefined,
  overrideNetworkName: false,
  cniVersion: undefined,
  forceCNIVersion: false,
  socketDir: '/run/plexus',
  spoolDir: undefined,
  timeoutSeconds: undefined,
  connectSeconds: undefined,
};

function compose(config: JsonObject, wish: Partial<Wishes> = {}): JsonObject {
  const path = '/etc/cni/net.d/10-master.conflist';
  const list = parseNetworkConfig(JSON.stringify(config), path);
  return JSON.parse(composeConfig({ path, list }, { ...wishes, ...wish }));
}

describe('the CNI configuration that is written', () => {
  test('calls Plexus with what every plugin of the chain is capable of, and tells the shim where the daemon is', () => {
    assert.deepEqual(compose(awsCni, { socketDir: '/run/multus', connectSeconds: 10 }), {
      cniVersion: '0.4.0',
      name: 'plexus',
      plugins: [
        {
          type: 'plexus',
          capabilities: { 'io.kubernetes.cri.pod-annotations': true, portMappings: true },
          clusterNetwork: '/etc/cni/net.d/10-master.conflist',
          socketDir: '/run/multus',
          connectSeconds: 10,
        },
      ],
    });
  });

  test('of a single plugin has its capabilities, or none', () => {
    const bridge = { cniVersion: '1.0.0', name: 'net', type: 'bridge' };
    const plugin = { type: 'plexus', clusterNetwork: '/etc/cni/net.d/10-master.conflist', socketDir: '/run/plexus' };
    assert.deepEqual(compose(bridge)['plugins'], [plugin]);
    assert.deepEqual(compose({ ...bridge, capabilities: { ips: true } })['plugins'], [
      { ...plugin, capabilities: { ips: true } },
    ]);
  });

  const names: readonly [string, Partial<Wishes>, string][] = [
    ['plexus', {}, 'plexus'],
    ['the one that is given', { name: 'cluster' }, 'cluster'],
    ['the default network, where that is asked for', { name: 'cluster', overrideNetworkName: true }, 'aws-cni'],
  ];
  for (const [name, wish, expected] of names) {
    test(`has the name of ${name}`, () => assert.equal(compose(awsCni, wish)['name'], expected));
  }

  const old = { cniVersion: '0.3.1', name: 'old', type: 'bridge' };
  const versions: readonly [string, JsonObject, Partial<Wishes>, string][] = [
    ["the default network's version", awsCni, {}, '0.4.0'],
    ['the version that is given, where it is older', awsCni, { cniVersion: '0.3.1' }, '0.3.1'],
    ['the version that is given, where it is newer and both have CHECK', awsCni, { cniVersion: '1.1.0' }, '1.1.0'],
    ['a version that has CHECK, where it is forced', old, { cniVersion: '1.1.0', forceCNIVersion: true }, '1.1.0'],
  ];
  for (const [name, config, wish, expected] of versions) {
    test(`has ${name}`, () => assert.equal(compose(config, wish)['cniVersion'], expected));
  }

  test('does not promise a CHECK that the default network does not have', () => {
    assert.throws(() => compose(old, { cniVersion: '0.4.0' }), {
      code: 1,
      message:
        'cniVersion 0.4.0 has CHECK, and /etc/cni/net.d/10-master.conflist is written in 0.3.1, which does not; leave ' +
        'cniVersion out, give an older one, or set forceCNIVersion to true',
    });
  });
});

const json = JSON.stringify;

describe('the default network', () => {
  const files: Readonly<Record<string, string>> = {
    '00-multus.conf': json({ cniVersion: '0.3.1', name: 'multus-cni-network', type: 'multus-shim' }),
    '00-plexus.conflist': json({ cniVersion: '1.1.0', name: 'plexus', plugins: [{ type: 'plexus' }] }),
    '05-notes.txt': 'none',
    '07-other.conf': json({ name: 'other', type: 'multus' }),
    '10-aws.conflist': json(awsCni),
    '87-podman.conflist': json({ cniVersion: '1.0.0', name: 'podman', plugins: [{ type: 'bridge' }] }),
  };
  async function directoryOf(content: Readonly<Record<string, string>>) {
    const directory = await testDirectory();
    await mkdir(join(directory.path, '06-directory.conf'));
    for (const [name, text] of Object.entries(content)) await writeFile(join(directory.path, name), text);
    return directory;
  }

  test('is the first that calls no meta-plugin', async () => {
    await using directory = await directoryOf(files);
    const { path, list } = await findMaster(directory.path, undefined);
    assert.equal(path, join(directory.path, '10-aws.conflist'));
    assert.equal(list.name, 'aws-cni');
  });

  test('is the one that is named', async () => {
    await using directory = await directoryOf(files);
    assert.equal((await findMaster(directory.path, '87-podman.conflist')).list.name, 'podman');
  });

  const wrong: readonly [string, Readonly<Record<string, string>>, string | undefined, RegExp][] = [
    ['named, and not there', files, '10-cilium.conflist', /^multusMasterCNI: .*\/10-cilium.conflist is not there$/],
    ['named, and Plexus itself', files, '00-plexus.conflist', /^multusMasterCNI: .* calls Plexus or Multus itself$/],
    ['nowhere', { '05-notes.txt': '' }, undefined, /^there is no CNI configuration in .*: no file with the ending/],
    ['half-written', { ...files, '08-new.conflist': '{"cni' }, undefined, /08-new\.conflist: /],
    ['without a plugin', { '10-a.conf': '{"name":"a"}' }, undefined, /10-a\.conf: expected plugins, .* or type/],
    [
      'newer than anything known',
      { '10-a.conf': '{"cniVersion":"9.0.0","name":"a","type":"b"}' },
      undefined,
      /10-a\.conf: expected a cniVersion of .*1\.1\.0, found 9\.0\.0/,
    ],
  ];
  for (const [name, content, named, message] of wrong) {
    test(`that is ${name} is told`, async () => {
      await using directory = await directoryOf(content);
      await assert.rejects(findMaster(directory.path, named), { message });
    });
  }

  test('in a directory that is not there is told', async () => {
    await assert.rejects(findMaster('/nowhere/net.d', undefined), { name: 'NoMasterError' });
  });
});

describe('a file that is written at once', () => {
  test('has the new text, is for its owner alone, and takes the place of what was never finished', async () => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'a.conf');
    await writeFile(`${file}.plexus-unfinished`, 'x', { mode: 0o644 });
    await writeFile(file, 'old', { mode: 0o644 });
    await writeAtomically(file, 'new');
    assert.equal(await readFile(file, 'utf8'), 'new');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(directory.path), ['a.conf']);
  });

  test('keeps the old text, and nothing else, where it cannot be written', async () => {
    await using directory = await testDirectory();
    await mkdir(join(directory.path, 'a.conf'));
    await assert.rejects(writeAtomically(join(directory.path, 'a.conf'), 'new'), { code: 'EISDIR' });
    assert.deepEqual(await readdir(directory.path), ['a.conf']);
  });
});

describe('the directory of the socket, as the shim sees it', () => {
  test("is the daemon's, where both see the same", async () => {
    assert.equal(await shimSocketDir({ socketDir: '/run/multus/' }), '/run/multus');
  });

  test('is what the administrator says', async () => {
    assert.equal(await shimSocketDir({ socketDir: '/a', daemonSocketDir: '/b', chrootDir: '/c' }), '/b');
  });

  test('is the same directory below the root of the node', async () => {
    await using directory = await testDirectory();
    const at = (name: string): string => join(directory.path, name);
    await mkdir(at('hostroot/run/multus'), { recursive: true });
    await mkdir(at('host'));
    await symlink(at('hostroot/run'), at('host/run'));
    const dirs = { socketDir: at('host/run/multus/'), chrootDir: at('hostroot') };
    assert.equal(await shimSocketDir(dirs), '/run/multus');
    await mkdir(at('elsewhere/multus'), { recursive: true });
    assert.equal(await shimSocketDir({ ...dirs, socketDir: at('elsewhere/multus') }), undefined);
  });
});

/** A keeper of a file in a directory of its own, which has the text of `source` there. */
async function keep(pollMs = 3_600_000) {
  const directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  const [file, source] = [at('net.d/00-plexus.conflist'), at('net.d/10-source.conflist')];
  await mkdir(at('net.d'));
  const kept = keptLog();
  const compose = async () => ({ text: `${await readFile(source, 'utf8')}!`, from: source });
  const options = { file, compose, directories: [at('net.d')], log: kept.log, pollMs };
  const text = (): Promise<string> => readFile(file, 'utf8').catch(() => '');
  return {
    at,
    file,
    source,
    lines: kept.lines,
    start: () => ConfigKeeper.start(options),
    text,
    async becomes(expected: string) {
      while ((await text()) !== expected) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

describe('the configuration is kept', { timeout }, () => {
  test('while what it is made from comes, changes, is replaced and goes; and stays when the daemon ends', async () => {
    await using kept = await keep();
    const keeper = await kept.start();
    assert.match(keeper.problems().join(), /ENOENT.*10-source/);
    assert.equal(kept.lines.filter(({ level }) => level === 40).length, 1);

    await writeFile(kept.source, 'one');
    await kept.becomes('one!');
    await until(() => keeper.problems().length === 0);

    await writeFile(kept.at('new'), 'two');
    await rename(kept.at('new'), kept.source);
    await kept.becomes('two!');

    await unlink(kept.source);
    await until(() => keeper.problems().length > 0);
    assert.equal(await kept.text(), 'two!');
    await keeper.close();
    assert.equal(await kept.text(), 'two!');
    assert.deepEqual(await readdir(kept.at('net.d')), ['00-plexus.conflist']);
  });

  test('and left alone where nothing has changed', async () => {
    await using kept = await keep(5);
    await writeFile(kept.source, 'one');
    await (await kept.start()).close();
    const { ino } = await stat(kept.file);
    const lines = kept.lines.length;
    const keeper = await kept.start();
    await keeper.close();
    assert.equal((await stat(kept.file)).ino, ino);
    assert.equal(kept.lines.length, lines);
  });

  test('and written again where somebody removes it', async () => {
    await using kept = await keep();
    await writeFile(kept.source, 'one');
    const keeper = await kept.start();
    await rename(kept.file, `${kept.file}.cilium_bak`);
    await kept.becomes('one!');
    assert.ok(kept.lines.some(({ msg, level }) => level === 40 && `${msg}`.startsWith('somebody else changed')));
    await keeper.close();
  });

  test('and by looks from time to time where the directory is replaced', async () => {
    await using kept = await keep(5);
    await writeFile(kept.source, 'one');
    const keeper = await kept.start();
    await rename(kept.at('net.d'), kept.at('old'));
    await until(() => keeper.problems().length > 0);
    await mkdir(kept.at('net.d'));
    await writeFile(kept.source, 'two');
    await kept.becomes('two!');
    await keeper.close();
  });

  test('and what comes before it is told, unless that calls Plexus, too', async () => {
    await using kept = await keep(5);
    await writeFile(kept.source, 'one');
    await writeFile(kept.at('net.d/00-multus.conf'), '{"type":"multus-shim"}');
    const keeper = await kept.start();
    assert.deepEqual(keeper.problems(), []);
    await writeFile(kept.at('net.d/00-loopback.conf'), '{"type":"loopback"}');
    await until(() => keeper.problems().length > 0);
    assert.match(
      keeper.problems().join(),
      /\/00-loopback\.conf comes before 00-plexus\.conflist: runtimes take the first/,
    );
    await rm(kept.at('net.d/00-loopback.conf'));
    await until(() => keeper.problems().length === 0);
    await keeper.close();
  });
});

describe('a daemon with multusConfigFile "auto"', { timeout }, () => {
  test('answers a runtime that was given what it wrote', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] }, { multusConfigFile: 'auto' });
    const text = await readFile(join(node.directory, 'net.d/00-plexus.conflist'), 'utf8');
    const { cniVersion, name, plugins } = JSON.parse(text);
    assert.equal(plugins[0].socketDir, join(node.directory, 'run'));
    assert.equal(plugins[0].spoolDir, join(node.directory, 'state/spool'));
    const { exitStatus, stdout } = await node.call({
      command: 'ADD',
      stdin: json({ cniVersion, name, ...plugins[0] }),
    });
    assert.equal(exitStatus, 0, stdout);
    await node.daemon.close();
    assert.equal(await readFile(join(node.directory, 'net.d/00-plexus.conflist'), 'utf8'), text);
  });

  test('is not ready, and says why, until the file that multusMasterCNI names is there', async () => {
    await using node = await startNode({ plugins: [] }, { multusMasterCNI: '10-aws.conflist' });
    const ready = async (): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${node.daemon.metricsPort}/readyz`);
      return `${response.status} ${await response.text()}`;
    };
    const master = join(node.directory, 'net.d/10-aws.conflist');
    assert.equal(await ready(), `503 multusMasterCNI: ${master} is not there\n`);
    await writeFile(master, json(awsCni));
    while ((await ready()) !== '200 ok\n') await new Promise(setImmediate);
    const { name, plugins } = JSON.parse(await readFile(join(node.directory, 'net.d/00-plexus.conflist'), 'utf8'));
    assert.equal(name, 'plexus');
    assert.equal(plugins[0].clusterNetwork, master);
    assert.equal(node.lines.filter(({ msg }) => `${msg}`.startsWith('not ready')).length, 1);
  });

  test('copies the file that multusConfigFile names instead', async () => {
    await using directory = await testDirectory();
    const own = join(directory.path, '00-own.conf');
    await writeFile(own, '{"cniVersion":"1.1.0","name":"own","type":"plexus"}');
    await using node = await startNode({ plugins: [] }, { multusConfigFile: own });
    assert.equal(await readFile(join(node.directory, 'net.d/00-own.conf'), 'utf8'), await readFile(own, 'utf8'));
  });
});
