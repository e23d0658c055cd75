import { access } from 'node:fs/promises';
import type { NodeDevices } from '../devices/device-plugin.ts';
import { memoryFile } from '../devices/node.ts';
import type { DaemonConfig } from './config.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';

/**
 * Offers the node's devices to kubelet where that is configured: by a file at the default place, or by the name of one,
 * which is waited for then. Nothing waits for kubelet, and of all this nothing is loaded on other nodes.
 */
export async function offerDevices(
  config: DaemonConfig,
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
): Promise<AsyncDisposable> {
  const { devicePluginConfig: configFile, devicePluginPrefix: prefix, devicePluginUseCDI, overlay } = config;
  const isNamed = 'devicePluginConfig' in overlay;
  const isThere = await access(configFile).then(
    () => true,
    () => false,
  );
  if (!isNamed && !isThere) return { [Symbol.asyncDispose]: async () => {} };
  const { NodeDevices, defaultCdiDir } = await import('../devices/device-plugin.ts');
  let devices: NodeDevices | undefined;
  metrics.countDevices(() => devices?.counts() ?? []);
  const { kubeletDir, deviceInfoDir, stateDir } = config;
  const started = NodeDevices.start({
    configFile,
    prefix,
    kubeletDir,
    deviceInfoDir,
    memoryFile: memoryFile(stateDir),
    cdiDir: devicePluginUseCDI ? defaultCdiDir : undefined,
    log,
    allocated: metrics.allocation.bind(metrics),
  }).then(
    (running) => {
      devices = running;
    },
    (error: unknown) => log.error({ err: error, file: configFile }, 'the devices of this node are not offered'),
  );
  return {
    async [Symbol.asyncDispose]() {
      await started;
      await devices?.[Symbol.asyncDispose]();
    },
  };
}
