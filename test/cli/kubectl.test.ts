import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { z } from 'zod';
import { startApi } from '../../src/playground/api/server.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { testDirectory } from '../support/directory.ts';

const options = { timeout: 60_000 };
const planSchema = z.object({
  items: z.array(z.object({ interfaces: z.array(z.object({ interface: z.string(), network: z.string() })) })),
});
const launcher = resolve(import.meta.dirname, '../../bin/kubectl-plexus');

test('kubectl plexus works as a plugin of kubectl, through a link on PATH', options, async () => {
  await using directory = await testDirectory();
  await using api = await startApi({
    objects: [
      network('blue', '{"cniVersion":"1.0.0","type":"macvlan","master":"ens6"}'),
      pod('a', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'blue' } }),
    ],
  });
  const kubeconfig = join(directory.path, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig());
  await mkdir(join(directory.path, 'bin'));
  await symlink(launcher, join(directory.path, 'bin/kubectl-plexus'));
  const path = [join(directory.path, 'bin'), dirname(process.execPath), process.env['PATH']].join(delimiter);
  const env = { ...process.env, HOME: directory.path, KUBECONFIG: kubeconfig, PATH: path };
  const kubectl = (...args: readonly string[]) => promisify(execFile)('kubectl', args, { env });

  const { stdout } = await kubectl('plexus', 'explain', 'a', '-o', 'json');
  const [found] = planSchema.parse(JSON.parse(stdout)).items;
  assert.deepEqual(found?.interfaces, [
    { interface: 'eth0', network: 'cluster-network' },
    { interface: 'net1', network: 'default/blue' },
  ]);
  assert.match((await kubectl('plexus', '--help')).stdout, /^Usage: kubectl plexus \[options\] \[command\]$/m);
  await assert.rejects(kubectl('plexus', 'explain', 'b'), { code: 1, stderr: /pod default\/b does not exist/ });
});
