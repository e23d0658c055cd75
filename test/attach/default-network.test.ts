import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findDefaultNetwork } from '../../src/attach/default-network.ts';
import { parseSettings } from '../../src/attach/settings.ts';
import { CniError } from '../../src/cni/error.ts';
import { playground } from '../kubernetes/playground.ts';
import { network } from '../playground-api/manifests.ts';

/** A CNI configuration directory with these files. */
async function directoryOf(t: TestContext, files: Readonly<Record<string, object | string>>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'plx-default-'));
  t.after(() => rm(directory, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return directory;
}

const conflist = (name: string, type = 'bridge') => ({ cniVersion: '1.0.0', name, plugins: [{ type }] });

const find = (clusterNetwork: string, cniConfigDir: string) =>
  findDefaultNetwork(parseSettings({ clusterNetwork, cniConfigDir }, 'the test'), undefined);

test('a name is that of a configuration in the directory, in the order of file names', async (t) => {
  const directory = await directoryOf(t, {
    '20-b.conflist': conflist('net-b'),
    '10-a.conf': { name: 'net-a', type: 'ptp' },
  });
  assert.equal((await find('net-b', directory)).source, join(directory, '20-b.conflist'));
  assert.equal((await find('net-a', directory)).source, join(directory, '10-a.conf'));
});

test('a directory is its first configuration that is not Plexus itself, nor Multus', async (t) => {
  const directory = await directoryOf(t, {
    '00-multus.conf': { name: 'multus-cni-network', type: 'multus-shim' },
    '00-plexus.conflist': conflist('plexus', 'plexus'),
    '05-notes.txt': 'no configuration',
    '10-aws.conflist': conflist('aws-cni', 'aws-cni'),
  });
  assert.equal((await find(directory, '/none')).name, 'aws-cni');
});

test('a file is taken as it is', async (t) => {
  const directory = await directoryOf(t, { '10-aws.conflist': conflist('aws-cni', 'aws-cni') });
  const found = await find(join(directory, '10-aws.conflist'), '/none');
  assert.equal(found.config, JSON.stringify(conflist('aws-cni', 'aws-cni')));
});

test('nothing found: the message tells each place that was looked at, and what to do', async (t) => {
  const directory = await directoryOf(t, {});
  await assert.rejects(find('aws-cni', directory), (error) => {
    assert.ok(error instanceof CniError);
    assert.equal(error.code, 7);
    assert.match(error.message, new RegExp(`a configuration named "aws-cni" in ${directory}, then the path aws-cni`));
    assert.match(error.details, /install the default network/);
    return true;
  });
});

test('a NetworkAttachmentDefinition of that name in multusNamespace comes first', async (t) => {
  const directory = await directoryOf(t, { '10-a.conflist': conflist('net-a') });
  const definition = JSON.stringify(conflist('net-a', 'macvlan'));
  await using running = await playground({ objects: [network('net-a', definition, 'kube-system')] });
  await running.cluster.ready;
  const settings = parseSettings({ clusterNetwork: 'net-a', cniConfigDir: directory }, 'the test');
  const found = await findDefaultNetwork(settings, running.cluster);
  assert.equal(found.source, 'NetworkAttachmentDefinition kube-system/net-a');
  assert.equal(found.config, definition);
});
