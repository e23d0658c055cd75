import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startApi } from '../../src/playground/api/server.ts';
import { network, pod } from './manifests.ts';

const options = { timeout: 60_000 };
const run = promisify(execFile);

/** An embedded API, and kubectl as a user would run it against that. */
async function withKubectl(objects: Parameters<typeof startApi>[0]) {
  const api = await startApi(objects);
  const home = await mkdtemp(join(tmpdir(), 'plx-kubectl-'));
  const kubeconfig = join(home, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig());
  const env = { ...process.env, HOME: home, KUBECONFIG: kubeconfig };
  return {
    api,
    home,
    env,
    kubectl: async (...args: string[]): Promise<string> => (await run('kubectl', args, { env })).stdout,
    async [Symbol.asyncDispose]() {
      await api.close();
      await rm(home, { recursive: true });
    },
  };
}

test('kubectl get pods', options, async () => {
  await using running = await withKubectl({ objects: [pod('a'), network('net-a')] });
  const { kubectl } = running;
  assert.match(await kubectl('get', 'pods'), /^NAME +READY +STATUS +RESTARTS +AGE\na +0\/1 +Pending +0 +\d+s\n$/);
  assert.match(await kubectl('get', 'net-attach-def'), /^NAME +AGE\nnet-a +\d+s\n$/);
});
