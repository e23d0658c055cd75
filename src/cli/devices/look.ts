import { readFile } from 'node:fs/promises';
import type { DaemonConfig } from '../../daemon/config.ts';
import { parseResourceConfig, type ResourceConfig } from '../../devices/config.ts';
import { withProfiles } from '../../devices/ddp.ts';
import { discover } from '../../devices/discover.ts';
import { readMemory, recall } from '../../devices/memory.ts';
import { memoryFile, nodeDefaultInterfaces } from '../../devices/node.ts';
import { type Candidate, select } from '../../devices/select.ts';

/** What `plexus devices` found. */
export interface DevicesReport {
  readonly candidates: readonly Candidate[];
  /** The file that says which resources there are. */
  readonly configFile: string;
  /** What is wrong with it. */
  readonly problems: readonly string[];
  readonly unknown: readonly string[];
}

type Config = Pick<DaemonConfig, 'devicePluginConfig' | 'devicePluginPrefix' | 'stateDir'>;

interface Options {
  readonly root?: string;
  readonly defaultInterfaces?: () => Promise<readonly string[]>;
}

/** Looks at the devices of this node as its daemon does. */
export async function lookAtDevices(config: Config, options: Options = {}): Promise<DevicesReport> {
  const { devicePluginConfig: configFile } = config;
  const { resources, problems, unknown } = await readConfig(config);
  const carriers = await (options.defaultInterfaces ?? nodeDefaultInterfaces)();
  const found = await discover({ defaultInterfaces: carriers, ...(options.root && { root: options.root }) });
  const hardware = recall(await withProfiles(found, resources), await readMemory(memoryFile(config.stateDir)));
  // A card has auxiliary devices for its driver's own use, too.
  const isAuxiliaryWanted = resources.some(({ deviceType }) => deviceType === 'auxNetDevice');
  const candidates = select(resources, hardware).filter(
    ({ device }) => device.type !== 'auxNetDevice' || isAuxiliaryWanted,
  );
  return { candidates, configFile, problems, unknown };
}

/** Without a configuration that can be read, devices can be looked at all the same. */
async function readConfig({ devicePluginConfig: file, devicePluginPrefix: prefix }: Config): Promise<ResourceConfig> {
  try {
    return parseResourceConfig(await readFile(file, 'utf8'), file, prefix);
  } catch (error) {
    return { resources: [], problems: [describe(error, file)], unknown: [] };
  }
}

function describe(error: unknown, file: string): string {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return `${file}: there is no such file, hence no resource; create it, or name another one as devicePluginConfig`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return message.includes(file) ? message : `${file}: ${message}`;
}
