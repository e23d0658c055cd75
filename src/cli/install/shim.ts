import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Stats } from 'node:fs';
import { lstat, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { isUnfinished, placeProgram } from '../../linux/atomic-file.ts';
import { isSystemError } from '../../plugins/host-local/files.ts';
import type { Steps } from './steps.ts';

/** The name that the runtime executes, by the type in the CNI configuration. */
export const shimName = 'plexus';

export interface ShimOptions {
  /** The CNI directory for executables. */
  readonly binDir: string;
  /** The CNI binary; undefined: it is beside this program. */
  readonly from: string | undefined;
  /** Where a daemon would listen. */
  readonly socket: string;
}

/**
 * Puts the CNI binary into its directory. It is not missing for a moment, and is executed before it gets its name: one
 * that does not run on this node replaces nothing.
 *
 * @throws {Error} saying what cannot be replaced, or what is wrong with the binary.
 */
export async function installShim({ binDir, from, socket }: ShimOptions, steps: Steps): Promise<void> {
  const source = from ?? (await findShim());
  const content = await readFile(source);
  const directory = await realpath(binDir);
  const path = join(directory, shimName);
  const before = await replaceable(path);
  if (before?.isFile() && content.equals(await readFile(path))) {
    steps.note(path, `is there already, ${await answerOf(path, socket)}`);
    return;
  }
  const { uid, gid } = await stat(directory);
  let answer = 'executed before it gets its name';
  const check = async (temporary: string): Promise<void> => {
    answer = await answerOf(temporary, socket);
  };
  if (steps.isDry) return steps.take(path, `put there from ${source}, ${answer}`, async () => {});
  await steps.take(path, `put there from ${source}`, () => placeProgram(path, content, { uid, gid, check }));
  steps.note(path, answer);
}

/** Where the build has it: beside the bundle, or in build/ of the sources. */
async function findShim(): Promise<string> {
  const here = import.meta.dirname;
  const candidates = [join(here, shimName), join(here, '../../../build', shimName)];
  for (const path of candidates) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile()) return path;
  }
  throw new Error(`the CNI binary is neither ${candidates.join(' nor ')}: \`make shim\` builds it, --from names it`);
}

/** @throws {Error} where a program is elsewhere, and only its link is here: that one is not ours to replace. */
async function replaceable(path: string): Promise<Stats | undefined> {
  const found = await statIfThere(path);
  if (found === undefined || found.isFile()) return found;
  if (!found.isSymbolicLink()) throw new Error(`${path} is neither a program nor a link: remove it`);
  const target = await realpath(path).catch(() => undefined);
  if (target !== undefined && dirname(target) === dirname(path)) return found;
  throw new Error(
    `${path} is a link out of that directory, to ${target ?? 'what is not there'}: remove the link, or give that directory as --cni-bin-dir`,
  );
}

/** Of the file or link itself; undefined where there is none. */
export async function statIfThere(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
}

/** What the shim says where no daemon listens: an error of its own, with the code "try again later". */
const awaitsDaemon = z.looseObject({ code: z.literal(11), msg: z.string() });
const answersVersion = z.looseObject({ supportedVersions: z.array(z.string()).min(1) });

/**
 * Asks the binary for its VERSION. A daemon answers that; where none runs yet, the shim's own error tells as much.
 *
 * @throws {Error} when it does not run here, or is another program.
 */
async function answerOf(path: string, socket: string): Promise<string> {
  const answer = parsed(await output(path, socket));
  const versions = answersVersion.safeParse(answer);
  if (versions.success) return `answers VERSION with ${versions.data.supportedVersions.join(', ')}`;
  if (awaitsDaemon.safeParse(answer).success) return `runs, and waits for a daemon at ${socket}`;
  const name = isUnfinished(path) ? 'the CNI binary that was to be put there' : path;
  throw new Error(`${name} does not answer VERSION as Plexus does: is --from the CNI binary for this node?`);
}

/** Milliseconds; it takes two. */
const timeout = 10_000;

/** Executes it without a shell: a container need not have one. */
async function output(path: string, socket: string): Promise<string> {
  const env = { CNI_COMMAND: 'VERSION', PLEXUS_SOCKET: socket, PLEXUS_CONNECT_SECONDS: '0' };
  const child = spawn(path, [], { env, timeout, argv0: shimName, stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.on('error', () => undefined);
  child.stdin.end('{"cniVersion":"1.1.0"}');
  try {
    const [printed] = await Promise.all([text(child.stdout), once(child, 'close')]);
    return printed;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`the CNI binary cannot be executed on this node: ${why}`, { cause: error });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
