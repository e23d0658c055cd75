import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from '../../src/kubernetes/cluster.ts';
import type { Log } from '../../src/kubernetes/log.ts';
import type { WatchTimings } from '../../src/kubernetes/watch.ts';
import { type Api, type ApiOptions, startApi } from '../../src/playground/api/server.ts';
import { accessTo } from './server.ts';

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
  const cluster = new Cluster({
    access: accessTo(api),
    nodeName: 'node-1',
    log: silent,
    timings: { ...quick, ...timings },
  });
  return {
    api,
    cluster,
    async [Symbol.asyncDispose]() {
      await cluster.close();
      await api.close();
    },
  };
}

/** Longer than anything takes that works: a test that waits in vain is to fail, not to hang. */
const patience = 15_000;

/** Waits for something to become so. @throws {Error} when it never does. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patience;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${condition}`);
    await sleep(2);
  }
}
