import { createHash } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { constants } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import { parseWith } from '../cni/schema.ts';
import { removeFile } from '../linux/atomic-file.ts';

/*
 * Files in which device plugins, Plexus and network plugins tell each other about a device (device information
 * specification 1.1.0): device plugins write dp/, network plugins read and write cni/.
 */

/** Told before and after a file is written. Tests end the process here. */
const steps = channel('plexus:device-info');

/** Bytes of one file. It becomes part of an annotation. */
const maxSize = 16 * 1024;

/** Of a file name. */
const maxName = 255;

/** Section 3.1. What a type's own map holds is between those who write and read it. */
const schema = z
  .looseObject({ type: z.string('expected the type of a device'), version: z.string('expected a version') })
  .refine((info) => isJsonObject(info[info.type]), { error: 'expected a map named like the type' });

export interface DeviceInfoKey {
  /** `namespace/name` of a definition, or the name of a configuration. */
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

/**
 * The file of one attachment (section 4.2), under the name that Multus gives it.
 *
 * @param directory Above dp and cni.
 */
export function deviceInfoFile(directory: string, { network, containerId, ifName }: DeviceInfoKey): string {
  const name = `${network}-${containerId}_${ifName}`.replaceAll('/', '-');
  const short = Buffer.byteLength(name) <= maxName ? name : createHash('sha256').update(name).digest('hex');
  return join(directory, 'cni', short);
}

/**
 * The file that the device plugin of a resource may have written (section 4.1).
 *
 * @param directory Above dp and cni.
 * @param resource A name of which the characters were checked, as those of `id`.
 */
export function devicePluginFile(directory: string, resource: string, id: string): string {
  return join(directory, 'dp', `${resource}-${id}-device.json`.replaceAll('/', '-'));
}

/**
 * Copies what a device plugin tells of a device to the file of an attachment; nothing where it tells nothing. A file that
 * an earlier attachment left behind goes in any case.
 *
 * @param source The device plugin's; undefined for an attachment without a device of a resource.
 * @throws {CniError} 7 where it is no device information.
 */
export async function copyDeviceInfo(source: string | undefined, file: string): Promise<void> {
  await removeFile(file);
  const info = source === undefined ? undefined : await readDeviceInfo(source);
  if (info === undefined) return;
  await mkdir(dirname(file), { recursive: true, mode: 0o755 });
  steps.publish({ at: 'write', file });
  await writeFile(file, JSON.stringify(info), { flag: 'wx', mode: 0o444 });
  steps.publish({ at: 'written', file });
}

/**
 * What is told of a device.
 *
 * @returns undefined when there is no such file.
 * @throws {CniError} 7 where it is no device information, 5 where it cannot be read.
 */
export async function readDeviceInfo(file: string): Promise<JsonObject | undefined> {
  const source = `device information ${file}`;
  const text = await readBounded(file).catch((error: unknown) => unreadable(error, source));
  if (text === undefined) return undefined;
  const json = parseJson(text, source);
  parseWith(schema, json, source);
  return isJsonObject(json) ? json : undefined;
}

/** What was told of a device at its ADD: by now its file may be gone, which is nothing to fail for. */
export function rememberedDeviceInfo(file: string | undefined): Promise<JsonObject | undefined> {
  return file === undefined ? Promise.resolve(undefined) : readDeviceInfo(file).catch(() => undefined);
}

/** Neither through a link nor from a pipe: only programs of root write these files, but not all of them are this one. */
async function readBounded(file: string): Promise<string> {
  await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const about = await handle.stat();
  if (!about.isFile()) throw new Error('expected a file');
  if (about.size > maxSize) throw new Error(`it has ${about.size} bytes, at most ${maxSize} are read`);
  return handle.readFile('utf8');
}

function unreadable(error: unknown, source: string): undefined {
  if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENAMETOOLONG')) return;
  const reason = error instanceof Error ? error.message : String(error);
  throw new CniError(ErrorCode.IoFailure, `${source}: ${reason}`, '', { cause: error });
}
