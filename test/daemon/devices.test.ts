import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { readDaemonConfig } from '../../src/daemon/config.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { Kubelet } from '../devices/kubelet.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog } from './log.ts';

/** A resource that no machine has a device for. */
const config = { resourceList: [{ resourceName: 'none', selectors: { vendors: ['ffff'] } }] };

describe('the device plugin in the daemon', () => {
  async function start(directory: string, more: object) {
    const file = join(directory, 'daemon.json');
    const own = {
      cluster: false,
      metricsPort: 0,
      stateDir: join(directory, 'state'),
      socketDir: join(directory, 'run'),
    };
    const dirs = { kubeletDir: join(directory, 'kubelet'), deviceInfoDir: join(directory, 'devinfo') };
    await writeFile(file, JSON.stringify({ ...own, ...dirs, ...more }));
    const { log, lines } = keptLog();
    return { daemon: await startDaemon(await readDaemonConfig(file), { log, plugins: [] }), lines };
  }

  test('registers what the file says, under the prefix that the daemon is given, and is counted', async (t) => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'config.json');
    await writeFile(file, JSON.stringify(config));
    await using kubelet = await Kubelet.start(join(directory.path, 'kubelet'));
    const { daemon } = await start(directory.path, { devicePluginConfig: file, devicePluginPrefix: 'example.org' });
    t.after(() => daemon.close());
    await kubelet.sees('example.org/none', []);
    await assert.rejects(kubelet.allocate('example.org/none', '0000:00:01.0'), /has no device 0000:00:01\.0/);
    const metrics = await (await fetch(`http://127.0.0.1:${daemon.metricsPort}/metrics`)).text();
    assert.match(metrics, /^plexus_devices\{resource="example\.org\/none",health="Healthy"\} 0$/m);
    assert.match(metrics, /^plexus_device_allocations_total\{resource="example\.org\/none",outcome="failure"\} 1$/m);
    await daemon.close();
    await kubelet.sees('example.org/none', undefined);
  });

  test('waits for a file that is named and not there yet', async (t) => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'config.json');
    await using kubelet = await Kubelet.start(join(directory.path, 'kubelet'));
    const { daemon, lines } = await start(directory.path, { devicePluginConfig: file });
    t.after(() => daemon.close());
    await writeFile(file, JSON.stringify(config));
    await kubelet.sees('intel.com/none', []);
    await daemon.close();
    assert.equal(lines.at(-1)?.['msg'], 'ended');
  });

  test('keeps nobody waiting where there is no kubelet', async (t) => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'config.json');
    await writeFile(file, JSON.stringify(config));
    const { daemon } = await start(directory.path, { devicePluginConfig: file });
    t.after(() => daemon.close());
    await daemon.close();
  });
});
