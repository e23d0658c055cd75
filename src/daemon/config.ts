import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import { parseWith } from '../cni/schema.ts';

const path = z.string('expected a path').startsWith('/', 'expected an absolute path');

/** The daemon's own keys. Those of Multus' daemon-config.json keep their names and meaning. */
export const daemonSchema = z.looseObject({
  /** Directory of the socket that the shim calls. */
  socketDir: path.default('/run/plexus'),
  /** What must outlive a restart: the journal. */
  stateDir: path.default('/var/lib/plexus'),
  /** A kubeconfig file. Absent: the service account of the daemon's pod. */
  kubeconfig: path.optional(),
  /** false: there is no cluster; pods get the default network only. For trying out plugins. */
  cluster: z.boolean().default(true),
  nodeName: z.string().min(1).optional(),
  /** Whom users see as the source of events. */
  eventReporter: z.string().min(1).default('multus'),
  /** Port of /healthz, /readyz and /metrics on 127.0.0.1; 0 lets the kernel choose. */
  metricsPort: z.int().min(0).max(65535).default(9091),
  logLevel: z
    .enum(['debug', 'verbose', 'info', 'warn', 'error', 'panic'], {
      error: 'expected debug, verbose, info, warn, error or panic',
    })
    .default('info'),
  /** Types of built-in plugins that are to be executed from the CNI directories all the same. */
  executedPlugins: z.array(z.string()).default([]),
  /** Directories of executed plugins, separated by colons. It overlays the runtime's configuration where it is given. */
  binDir: z.string().default('/opt/cni/bin'),
});

export interface DaemonConfig extends z.infer<typeof daemonSchema> {
  readonly nodeName: string;
  readonly socket: string;
  /** Every key as it was given: it overlays the configuration that the runtime sends. */
  readonly overlay: JsonObject;
}

/**
 * Reads the daemon's configuration.
 *
 * @param file A JSON file; undefined for the defaults.
 * @param overrides Keys that the command line gives; they win.
 * @throws {CniError} naming the file, the key and what was expected.
 */
export async function readDaemonConfig(file: string | undefined, overrides: JsonObject = {}): Promise<DaemonConfig> {
  const source = file ?? 'the command line';
  const written = file === undefined ? {} : parseJson(await readFile(file, 'utf8'), source);
  if (!isJsonObject(written)) throw new Error(`${source}: expected a JSON object`);
  const overlay = { ...written, ...overrides };
  const parsed = parseWith(daemonSchema, overlay, source);
  return {
    ...parsed,
    nodeName: parsed.nodeName ?? process.env['MULTUS_NODE_NAME'] ?? process.env['NODE_NAME'] ?? hostname(),
    socket: join(parsed.socketDir, 'plexus.sock'),
    overlay,
  };
}
