import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Launch, launch, launchBeside } from './launch.ts';

export interface Sandbox {
  readonly containerId: string;
  readonly netns: string;
  /** CNI_ARGS. */
  readonly args?: string;
}

/** A plugin as a container runtime sees it: a binary to execute. */
export class Subject {
  readonly #binary: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #stdin: string;
  readonly #directory: string;

  private constructor(binary: string, environment: Readonly<Record<string, string>>, stdin: string, directory: string) {
    this.#binary = binary;
    this.#environment = environment;
    this.#stdin = stdin;
    this.#directory = directory;
  }

  /**
   * @param binary Its path; other plugins are beside it.
   * @param config What the plugin is given on standard input.
   * @param directory For the files of its input and output.
   */
  static async of(
    binary: string,
    config: string,
    directory: string,
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Subject> {
    const stdin = join(directory, 'stdin.json');
    await writeFile(stdin, config);
    const always = { CNI_PATH: join(binary, '..'), CNI_IFNAME: 'net1' };
    return new Subject(binary, { ...always, ...environment }, stdin, directory);
  }

  /** One call with nothing beside it. Only the plugin's own time passes: this thread waits. */
  async call(command: string, sandbox: Sandbox): Promise<void> {
    const call = this.#launch(command, sandbox);
    await this.#check(call, launch(call));
  }

  /** The same. @returns What it printed. */
  async answer(command: string, sandbox: Sandbox): Promise<string> {
    await this.call(command, sandbox);
    return readFile(this.#launch(command, sandbox).stdout, 'utf8');
  }

  /** One call among others. */
  async callBeside(command: string, sandbox: Sandbox): Promise<void> {
    const call = this.#launch(command, sandbox);
    await this.#check(call, await launchBeside(call));
  }

  #launch(command: string, { containerId, netns, args }: Sandbox): Launch {
    const own = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      ...(args && { CNI_ARGS: args }),
    };
    return {
      path: this.#binary,
      env: { ...this.#environment, ...own },
      stdin: this.#stdin,
      stdout: join(this.#directory, containerId),
    };
  }

  async #check({ path, env, stdout }: Launch, status: number): Promise<void> {
    if (status === 0) return;
    const said = await readFile(stdout, 'utf8');
    throw new Error(`${path} ${env['CNI_COMMAND']} ended with ${status}: ${said}`);
  }
}
