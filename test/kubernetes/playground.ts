import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Access } from '../../src/kubernetes/access.ts';
import { Cluster } from '../../src/kubernetes/cluster.ts';
import type { Log } from '../../src/kubernetes/log.ts';
import type { WatchTimings } from '../../src/kubernetes/watch.ts';
import { type Api, type ApiOptions, startApi } from '../../src/playground/api/server.ts';

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Retries at once: tests wait for what happens, not for time to pass. */
export const quick: Partial<WatchTimings> = { firstRetry: 1, slowestRetry: 20 };

export interface Playground extends AsyncDisposable {
  readonly api: Api;
  readonly cluster: Cluster;
}

/** An embedded API and a cluster that looks at it. */
export async function playground(options: ApiOptions = {}, timings: Partial<WatchTimings> = {}): Promise<Playground> {
  const api = await startApi(options);
  const directory = await mkdtemp(join(tmpdir(), 'plx-kubernetes-'));
  const file = join(directory, 'kubeconfig');
  await writeFile(file, api.kubeconfig());
  const access = Access.kubeconfig(file);
  const cluster = new Cluster({ access, nodeName: 'node-1', log: silent, timings: { ...quick, ...timings } });
  return {
    api,
    cluster,
    async [Symbol.asyncDispose]() {
      await cluster.close();
      await api.close();
      await rm(directory, { recursive: true });
    },
  };
}

/** Waits for something to become so. What never does fails the test by its time limit, which the runner sets. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}
