import { z } from 'zod';

/** Name of the file in the spool that shim/alone.c looks for. */
export const preparedName = 'default-network';

/** Bytes that shim/alone.c has room for. */
const limits = { file: 1 << 20, path: 4095, directories: 1 << 13, plugins: 32, capabilities: 32, capability: 250 };

/** What the daemon is to know of a network that was attached without it. */
export const usedNetworkSchema = z.strictObject({
  /** The configuration's text, as it was read. */
  config: z.string(),
  source: z.string(),
  defaultName: z.string(),
});

export type UsedNetwork = Readonly<z.infer<typeof usedNetworkSchema>>;

/** What the shim needs to attach a pod to its default network by itself. */
export interface Prepared {
  /** That of the plugins and of their results. */
  readonly cniVersion: string;
  /** A file that must be there; empty for none. */
  readonly readinessFile: string;
  /** Looked through for plugins before the runtime's CNI_PATH. */
  readonly directories: readonly string[];
  readonly network: UsedNetwork;
  /** Whether DEL is given the result of the ADD. */
  readonly hasPrevResult: boolean;
  readonly plugins: readonly PreparedPlugin[];
}

export interface PreparedPlugin {
  /** Of its binary, as the node sees it. */
  readonly path: string;
  /** A JSON object with at least one key, without runtimeConfig and prevResult. */
  readonly config: string;
  /** Those of the runtime's runtimeConfig that it is given. */
  readonly capabilities: readonly string[];
}

/**
 * Writes it as shim/alone.c reads it.
 *
 * @throws {Error} naming what is too long for it.
 */
export function encodePrepared(prepared: Prepared): Buffer {
  const { cniVersion, readinessFile, directories, network, hasPrevResult, plugins } = prepared;
  within('plugins', plugins.length, limits.plugins);
  const body = Buffer.concat([
    text(cniVersion),
    path(readinessFile),
    text(directories.join(':'), 'binDir', limits.directories),
    text(JSON.stringify(network)),
    Buffer.from([hasPrevResult ? 1 : 0, plugins.length]),
    ...plugins.flatMap(pluginFields),
  ]);
  const header = Buffer.from('PLXD\0\0\0\0');
  header.writeUInt32LE(body.length, 4);
  within('bytes in the configuration', header.length + body.length, limits.file - 1);
  return Buffer.concat([header, body]);
}

function pluginFields({ path: file, config, capabilities }: PreparedPlugin): Buffer[] {
  within('capabilities', capabilities.length, limits.capabilities);
  return [
    path(file),
    text(config.slice(0, -1)),
    Buffer.from([capabilities.length]),
    ...capabilities.map((name) => text(name, 'the name of a capability', limits.capability)),
  ];
}

const path = (file: string): Buffer => text(file, 'a path', limits.path);

function text(content: string, what?: string, limit = limits.file): Buffer {
  const bytes = Buffer.from(content);
  if (what !== undefined) within(`bytes in ${what}`, bytes.length, limit);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function within(what: string, count: number, limit: number): void {
  if (count > limit) throw new Error(`${count} ${what}, at most ${limit} fit`);
}
