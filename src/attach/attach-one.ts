import { AddError, type Added, addList } from '../cni/chain.ts';
import { CniError, toCniError } from '../cni/error.ts';
import type { JsonObject } from '../cni/json.ts';
import type { Attachment } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import type { PlannedAttachment } from '../journal/entry.ts';
import { removeFile } from '../linux/atomic-file.ts';
import { copyDeviceInfo, readDeviceInfo } from './device-info.ts';
import { requireGranted } from './granted.ts';
import type { ReadyAttachment } from './plan.ts';
import type { ReleaseContext } from './release.ts';

/** What an attachment came to. */
export interface Attached extends Added {
  /** What its plugins, or a device plugin before them, tell of its device. */
  readonly deviceInfo: JsonObject | undefined;
}

/**
 * Makes one attachment. It is reported, not recorded.
 *
 * @param attachment The sandbox's; its interface name is the runtime's.
 * @throws {UndoneError} when it failed and nothing of it is left.
 * @throws {CniError} when something of it may be.
 */
export async function attachOne(
  { planned, list, devicePluginFile, hint }: ReadyAttachment,
  attachment: Attachment,
  context: Pick<ReleaseContext, 'runner' | 'path' | 'report'>,
): Promise<Attached> {
  const started = performance.now();
  const report = (error?: CniError) =>
    context.report({
      command: 'ADD',
      planned,
      plugin: list.plugins[0]?.type ?? '',
      milliseconds: performance.now() - started,
      error,
    });
  try {
    const { runtimeConfig, cniArgs, deviceId, deviceInfoFile } = planned;
    if (deviceInfoFile !== undefined) await copyDeviceInfo(devicePluginFile, deviceInfoFile);
    const own = { ...attachment, ifName: planned.ifName, path: context.path };
    const added = await addList(list, own, { runtimeConfig, cniArgs, deviceId }, context.runner);
    requireGranted(planned, added.result);
    const deviceInfo = deviceInfoFile === undefined ? undefined : await readDeviceInfo(deviceInfoFile);
    report();
    return { ...added, deviceInfo };
  } catch (error) {
    // What could not be undone is tried once more by who asked for the attachment, who tells of it then.
    const { code, message, details: stated } = toCniError(error instanceof AddError ? error.cause : error);
    const details = [stated, hint].filter(Boolean).join('; ');
    const where = `network ${planned.network}, interface ${planned.ifName}`;
    const undone = error instanceof AddError && error.undoFailures.length === 0 && (await isForgotten(planned));
    const failure = undone
      ? new UndoneError(planned.ifName, code, `${where}: ${message}`, details)
      : new CniError(code, `${where}: ${message}`, details, { cause: error });
    report(failure);
    throw failure;
  }
}

/** Whether nothing is left of what its plugins were told of its device. */
async function isForgotten({ deviceInfoFile }: PlannedAttachment): Promise<boolean> {
  if (deviceInfoFile === undefined) return true;
  return removeFile(deviceInfoFile).then(
    () => true,
    () => false,
  );
}

/** An attachment failed, and all that its chain had made was undone. */
export class UndoneError extends CniError {
  readonly ifName: string;

  constructor(ifName: string, code: number, message: string, details: string) {
    super(code, message, details);
    this.ifName = ifName;
  }
}

/** The words that `kubectl describe pod` shows, as Multus has them. */
export function addedMessage({ planned }: Pick<ReadyAttachment, 'planned'>, result: Result): string {
  return `Add ${planned.ifName} [${result.ips.map(({ address }) => address).join(' ')}] from ${planned.network}`;
}
