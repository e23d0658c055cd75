import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { startApi } from '../../src/playground/api/server.ts';
import { run, start } from '../cli/plexus.ts';
import { network } from '../playground-api/manifests.ts';
import { Admin } from '../support/admin.ts';
import { testDirectory } from '../support/directory.ts';
import { freePort } from '../support/free-port.ts';
import { config } from './reviews.ts';

const timeout = 60_000;

const lineSchema = z.looseObject({ time: z.string(), level: z.number(), msg: z.string() });

/** The status of a path of the health server; 0 while nobody answers. */
const statusOf = (port: number, path: string): Promise<number> =>
  fetch(`http://127.0.0.1:${port}${path}`).then(
    ({ status }) => status,
    () => 0,
  );

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(50);
}

test('plexus webhook waits for the API server, answers, and ends with SIGTERM', { timeout }, async () => {
  await using directory = await testDirectory();
  const [apiPort, port, metricsPort] = [await freePort(), await freePort(), await freePort()];
  await using api = await startApi({ port: apiPort });
  await api.close();
  const kubeconfig = join(directory.path, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig());
  const own = ['--address', '127.0.0.1', '--port', String(port), '--metrics-port', String(metricsPort)];
  const url = ['--url', `https://127.0.0.1:${port}`];
  const more = ['--executed-plugins', 'whereabouts', 'ovs', '--namespace', 'kube-public', '--certificate-days', '7'];
  const child = start(['webhook', '--kubeconfig', kubeconfig, ...own, ...url, ...more]);
  assert.ok(child.stderr !== null);
  const lines: z.infer<typeof lineSchema>[] = [];
  createInterface(child.stderr).on('line', (line) => lines.push(lineSchema.parse(JSON.parse(line))));
  try {
    await until(async () => (await statusOf(metricsPort, '/readyz')) === 503);
    assert.equal(await statusOf(metricsPort, '/healthz'), 200);
    await until(async () => lines.some(({ msg }) => msg.startsWith('the webhook cannot begin yet')));
    await using again = await startApi({ port: apiPort });
    await until(async () => (await statusOf(metricsPort, '/readyz')) === 200);

    using admin = new Admin({ url: new URL(again.url) });
    const bad = network('bad', config({ type: 'nosuch' }));
    await assert.rejects(
      admin.create(bad),
      /denied the request: nosuch is not built in, and is none of the plugins that nodes execute \(whereabouts, ovs\)/,
    );
    await admin.create(network('good', config({ type: 'ovs' })));

    const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    assert.match(metrics, /^plexus_webhook_reviews_total\{webhook="networks",outcome="refused"\} 1$/m);
    assert.match(metrics, /^plexus_webhook_reviews_total\{webhook="networks",outcome="allowed"\} 1$/m);
    const [, expiry] = /^plexus_webhook_certificate_expiry_seconds (\d+)$/m.exec(metrics) ?? [];
    assert.ok(Math.abs(Number(expiry) - Date.now() / 1000 - 7 * 86_400) < 3_600, String(expiry));
    assert.ok(lines.some(({ msg, refusal }) => msg === 'refused' && String(refusal).startsWith('nosuch is not')));
  } finally {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
  }
  // The API server ended just before it, which may be told after.
  assert.ok(lines.some(({ msg }) => msg === 'ending: no more questions are taken'));
});

const wrong: readonly (readonly [option: string, value: string, message: RegExp])[] = [
  ['--url', 'http://127.0.0.1:1', /expected https:\/\/HOST:PORT/],
  ['--url', 'https://127.0.0.1:1/path', /expected https:\/\/HOST:PORT/],
  ['--pods-failure-policy', 'Maybe', /Allowed choices are Ignore, Fail/],
  ['--certificate-days', '0', /expected a number of days/],
  ['--port', 'x', /expected a number/],
];

for (const [option, value, message] of wrong) {
  test(`${option} ${value} is refused`, { timeout }, async () => {
    const { status, stderr } = await run(['webhook', option, value]);
    assert.equal(status, 1);
    assert.match(stderr, message);
  });
}
