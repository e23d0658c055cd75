import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../cni/json.ts';
import { writeAtomically } from '../../linux/atomic-file.ts';

const schema = z.strictObject({
  config: z.custom<JsonObject>(isJsonObject),
  path: z.array(z.string()).readonly(),
});

/** How the runtime last called for an ADD. */
export type Call = Readonly<z.infer<typeof schema>>;

/**
 * Keeps on disk how the runtime calls: what is attached while a pod runs is attached without a call, maybe by a daemon that
 * has had none yet, and is to be held to the same configuration.
 */
export class RuntimeCall {
  readonly #file: string;
  #text: string;
  #current: Call | undefined;

  private constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
    this.#current = read(text);
  }

  /** @param directory The daemon's stateDir. */
  static async open(directory: string): Promise<RuntimeCall> {
    const file = join(directory, 'runtime.json');
    return new RuntimeCall(file, await readFile(file, 'utf8').catch(() => ''));
  }

  /** Undefined until there was one. */
  get current(): Call | undefined {
    return this.#current;
  }

  /**
   * Notes a call, before anything is done for it.
   *
   * @param config What the runtime sent. What is of one sandbox alone is left out.
   * @param path CNI_PATH.
   */
  async note(config: JsonObject, path: readonly string[]): Promise<void> {
    const { runtimeConfig: _, prevResult: __, ...rest } = config;
    const call = { config: rest, path };
    const text = JSON.stringify(call);
    if (text === this.#text) return;
    this.#text = text;
    this.#current = call;
    await writeAtomically(this.#file, text);
  }
}

/** A file that cannot be read is as good as none: the next call writes it anew. */
function read(text: string): Call | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
