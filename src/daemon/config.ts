import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { settingsSchema } from '../attach/settings.ts';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import { matchKeys, parseWith } from '../cni/schema.ts';
import type { Wishes } from './cni-config/compose.ts';
import { duration } from './duration.ts';
import type { Logger } from './log.ts';

const path = z.string('expected a path').startsWith('/', 'expected an absolute path');

/** Empty text is as good as none, as in Go. */
const pathOrNone = z
  .string('expected a path')
  .regex(/^(\/|$)/, 'expected an absolute path')
  .transform((text) => text || undefined)
  .optional();

/** A client certificate of the node's own; nothing where it is not enabled. */
const perNodeCertificate = z
  .looseObject({
    enabled: z.boolean().default(false),
    /** The kubeconfig by which the first one is asked for. */
    bootstrapKubeconfig: pathOrNone,
    /** Where it is kept. */
    certDir: pathOrNone,
    /** How long it is to be good for. Kubernetes does not sign for less than ten minutes. */
    certDuration: duration
      .refine((seconds) => seconds >= 600, 'expected at least 10m, which is the least that Kubernetes signs for')
      .prefault('10m'),
  })
  .superRefine(({ enabled, bootstrapKubeconfig, certDir }, context) => {
    if (!enabled) return;
    for (const [key, value] of Object.entries({ bootstrapKubeconfig, certDir })) {
      if (value !== undefined) continue;
      context.addIssue({ code: 'custom', path: [key], message: 'expected an absolute path, as enabled is true' });
    }
  })
  .transform(({ enabled, bootstrapKubeconfig, certDir, certDuration: seconds }) =>
    enabled && bootstrapKubeconfig && certDir ? { bootstrapKubeconfig, certDir, seconds } : undefined,
  );

/** The daemon's own keys. Those of Multus' daemon-config.json keep their names and meaning. */
export const daemonSchema = z.looseObject({
  /** Directory of the socket that the shim calls. */
  socketDir: path.default('/run/plexus'),
  /** What must outlive a restart: the journal, and what waits for the daemon. */
  stateDir: path.default('/var/lib/plexus'),
  /** A kubeconfig file. Absent: the service account of the daemon's pod. */
  kubeconfig: pathOrNone,
  /** A client certificate of the node's own, which counts more than `kubeconfig`. */
  perNodeCertificate: perNodeCertificate.optional(),
  /** false: there is no cluster; pods get the default network only. For trying out plugins. */
  cluster: z.boolean().default(true),
  nodeName: z.string().min(1).optional(),
  /** Whom users see as the source of events. */
  eventReporter: z.string().min(1).default('multus'),
  /** Port of /healthz, /readyz and /metrics; 0 lets the kernel choose. */
  metricsPort: z.int().min(0).max(65535).default(9091),
  /** Where that is: what is told there is the node's own business, unless the administrator wants it otherwise. */
  metricsAddress: z.union([z.ipv4(), z.ipv6()], { error: 'expected an IP address' }).default('127.0.0.1'),
  logLevel: z
    .string('expected the name of a level')
    .toLowerCase()
    .pipe(
      z.enum(['debug', 'verbose', 'info', 'warn', 'error', 'panic'], {
        error: 'expected debug, verbose, info, warn, error or panic',
      }),
    )
    .default('info'),
  /** Where the log goes. Absent: standard error. */
  logFile: pathOrNone,
  /** Whether it goes to standard error as well. */
  logToStderr: z.boolean().default(false),
  /** When the log file becomes a backup: MiB; and when those are removed: days, count; 0 is no limit for both. */
  logOptions: z
    .looseObject({
      maxAge: z.int().min(0).default(5),
      maxSize: z.int().min(0).default(100),
      maxBackups: z.int().min(0).default(5),
      compress: z.boolean().default(true),
    })
    .prefault({}),
  /** Calls of the runtime that are worked on at a time; others wait. Absent or 0: as many as come. */
  connectionLimit: z.int().min(0).optional(),
  /** Types of built-in plugins that are to be executed from the CNI directories all the same. */
  executedPlugins: z.array(z.string()).default([]),
  /** Directories of executed plugins, separated by colons. It overlays the runtime's configuration where it is given. */
  binDir: z.string().default('/opt/cni/bin'),
  /**
   * `auto`: the CNI configuration is written, in front of the first one of `multusAutoconfigDir`. A path: that file is copied
   * to `cniConfigDir`. Absent or empty: the administrator writes it, unless one of the next two is given.
   */
  multusConfigFile: z
    .string('expected "auto" or a path')
    .regex(/^(auto$|\/|$)/, 'expected "auto" or an absolute path')
    .optional(),
  /** Where the default network's configuration appears. Absent: `cniConfigDir`. */
  multusAutoconfigDir: pathOrNone,
  /** The name of its file, which is waited for. Absent: the first one is taken. */
  multusMasterCNI: z
    .string('expected the name of a file')
    .regex(/^[^/\0]*$/, 'expected the name of a file in multusAutoconfigDir, without a slash')
    .transform((name) => name || undefined)
    .optional(),
  /** Whether the configuration that is written has the name of the default network. */
  overrideNetworkName: z.boolean().default(false),
  /** Whether it has `cniVersion` even where the default network's is too old for it. */
  forceCNIVersion: z.boolean().default(false),
  /** `socketDir` as the shim, which runs on the node, is to see it. Absent: it is found by `chrootDir`. */
  daemonSocketDir: pathOrNone,
  /** `stateDir`/spool as the shim is to see it. Absent: it is found by `chrootDir`. */
  spoolDir: pathOrNone,
  /** Whether pods that start while there is no daemon wait for it, or go on with their default network. */
  whenDaemonIsDown: z
    .enum(['wait', 'default-network-only'], { error: 'expected wait or default-network-only' })
    .default('wait'),
  /** Where the daemon sees the root of the node, which executed plugins are to have as theirs. */
  chrootDir: pathOrNone,
  /** The sriov-network-device-plugin's config.json: where its file is, the node's devices are offered as it says. */
  devicePluginConfig: path.default('/etc/pcidp/config.json'),
  /** Of resources that name no prefix. */
  devicePluginPrefix: z.string('expected the name of a domain').min(1).default('intel.com'),
  /** Whether containers get device files by CDI, instead of from kubelet. */
  devicePluginUseCDI: z.boolean().default(false),
  /** Seconds that the shim takes at most for a call, and waits for a daemon. Absent: the shim's own. */
  timeoutSeconds: z.int().min(0).optional(),
  connectSeconds: z.int().min(0).optional(),
});

const text = z.string('expected text');
const flag = z.boolean();

/** Multus' keys that are taken as they are and change nothing. */
export const idleSchema = z.looseObject({
  type: text.optional(),
  capabilities: z.record(text, flag).optional(),
  cniDir: pathOrNone,
  enablePprof: flag.optional(),
  retryDeleteOnError: flag.optional(),
});

/** Why they change nothing. */
export const idleReasons: Readonly<Record<keyof typeof idleSchema.shape, string>> = {
  type: 'it is the name that the runtime calls',
  capabilities: 'those of the default network count',
  cniDir: 'what was attached is in stateDir',
  enablePprof: 'there is no pprof in Node',
  retryDeleteOnError: 'what is still held is kept, and DEL answers with the error, in any case',
};

/** Every key that somebody here knows. The runtime's configuration may have what this one lacks. */
const fileSchema = z.looseObject({
  ...settingsSchema.shape,
  clusterNetwork: settingsSchema.shape.clusterNetwork.optional(),
  ...daemonSchema.shape,
  ...idleSchema.shape,
});

export interface DaemonConfig extends z.infer<typeof daemonSchema> {
  readonly nodeName: string;
  readonly socket: string;
  /** Where the runtime finds its configuration. */
  readonly cniConfigDir: string;
  /** What that is to be like. */
  readonly wishes: Omit<Wishes, 'socketDir' | 'spoolDir'>;
  /** Kubelet's --root-dir. */
  readonly kubeletDir: string;
  /** Where device plugins tell of devices. */
  readonly deviceInfoDir: string;
  /** Every key as it was given: it overlays the configuration that the runtime sends. */
  readonly overlay: JsonObject;
  /** Where the keys come from, for messages. */
  readonly source: string;
}

/**
 * Reads the daemon's configuration.
 *
 * @param file A JSON file; undefined for the defaults.
 * @param overrides Keys that the command line gives; they win.
 * @throws {CniError} naming the file, the path of each wrong key in it and what was expected.
 */
export async function readDaemonConfig(file: string | undefined, overrides: JsonObject = {}): Promise<DaemonConfig> {
  const source = file ?? 'the command line';
  const written = file === undefined ? {} : matchKeys(fileSchema, parseJson(await readFile(file, 'utf8'), source));
  if (!isJsonObject(written)) throw new Error(`${source}: expected a JSON object`);
  const overlay = { ...written, ...overrides };
  const { cniConfigDir, cniVersion, name, kubeletDir, deviceInfoDir } = parseWith(fileSchema, overlay, source);
  const parsed = parseWith(daemonSchema, overlay, source);
  const { multusConfigFile, multusAutoconfigDir, multusMasterCNI } = parsed;
  const isAuto = multusAutoconfigDir !== undefined || multusMasterCNI !== undefined;
  const { overrideNetworkName, forceCNIVersion, timeoutSeconds, connectSeconds } = parsed;
  return {
    ...parsed,
    multusConfigFile: (multusConfigFile ?? (isAuto ? 'auto' : '')) || undefined,
    cniConfigDir,
    kubeletDir,
    deviceInfoDir,
    wishes: {
      name: 'name' in overlay ? name : undefined,
      overrideNetworkName,
      cniVersion: 'cniVersion' in overlay ? cniVersion : undefined,
      forceCNIVersion,
      timeoutSeconds,
      connectSeconds,
    },
    nodeName: parsed.nodeName ?? process.env['MULTUS_NODE_NAME'] ?? process.env['NODE_NAME'] ?? hostname(),
    socket: join(parsed.socketDir, 'plexus.sock'),
    overlay,
    source,
  };
}

/** Tells what the configuration says in vain: most likely a key is misspelt, or of another program. */
export function reportUnused({ overlay, source }: DaemonConfig, log: Logger): void {
  const keys = Object.keys(overlay);
  const unknown = keys.filter((key) => !Object.hasOwn(fileSchema.shape, key));
  if (unknown.length > 0) log.warn({ file: source, keys: unknown }, 'nobody knows these keys of the configuration');
  const idle = Object.entries(idleReasons).filter(([key]) => keys.includes(key));
  if (idle.length > 0) {
    log.info({ file: source, keys: Object.fromEntries(idle) }, 'these keys of the configuration change nothing');
  }
}
