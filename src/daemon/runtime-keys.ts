import { z } from 'zod';
import { settingsSchema } from '../attach/settings.ts';
import type { JsonObject } from '../cni/json.ts';
import { parseWith } from '../cni/schema.ts';
import { daemonSchema, idleSchema } from './config.ts';
import type { Logger } from './log.ts';

const text = z.string('expected text').optional();

/** Keys of Multus that count in the daemon's own configuration; what runtimes send is checked for what Multus would refuse. */
const elsewhereSchema = z.looseObject({
  kubeconfig: text,
  logFile: text,
  logLevel: text,
  logToStderr: z.boolean().optional(),
  logOptions: z
    .looseObject({
      maxAge: z.int().optional(),
      maxSize: z.int().optional(),
      maxBackups: z.int().optional(),
      compress: z.boolean().optional(),
    })
    .optional(),
});

/** Together with those that change nothing in either place. */
const checkedSchema = z.looseObject({ ...elsewhereSchema.shape, ...idleSchema.shape, cniDir: text });

/** What container runtimes write into what they were given, and what the specification has in every configuration. */
const ofRuntimes = [
  'args',
  'cniVersions',
  'disableCheck',
  'disableGC',
  'dns',
  'ipam',
  'loadOnlyInlinedPlugins',
  'prevResult',
  'runtimeConfig',
];

const known: ReadonlySet<string> = new Set(
  [...Object.keys({ ...settingsSchema.shape, ...daemonSchema.shape, ...idleSchema.shape }), ...ofRuntimes].map((key) =>
    key.toLowerCase(),
  ),
);

const elsewhere: ReadonlySet<string> = new Set(Object.keys(elsewhereSchema.shape).map((key) => key.toLowerCase()));

/** Looks at the keys of the CNI configuration that do not concern attachments. */
export class RuntimeKeys {
  readonly #log: Logger;
  /** Each is told once: it comes again with every pod. */
  readonly #told = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Tells what is there in vain.
   *
   * @param config What the runtime sent.
   * @param source What that is, for error messages.
   * @throws {CniError} 7 naming each key of Multus that has another type than it takes.
   */
  look(config: JsonObject, source: string): void {
    parseWith(checkedSchema, config, source);
    const keys = Object.keys(config).filter((key) => !this.#told.has(key));
    const unknown = keys.filter((key) => !known.has(key.toLowerCase()) && !key.startsWith('cni.dev/'));
    const idle = keys.filter((key) => elsewhere.has(key.toLowerCase()));
    for (const key of [...unknown, ...idle]) this.#told.add(key);
    if (unknown.length > 0) this.#log.warn({ keys: unknown }, 'nobody knows these keys of the CNI configuration');
    if (idle.length > 0) {
      this.#log.info({ keys: idle }, "these keys of the CNI configuration count in the daemon's configuration only");
    }
  }
}
