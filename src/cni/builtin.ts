import { encodeResult, readPrevResult } from './convert.ts';
import { CniError, toCniError } from './error.ts';
import type { Attachment, NetworkCall, Plugin, PluginCall, PluginConfig, PluginRunner } from './plugin.ts';
import type { Result } from './result.ts';
import { requireCommand, requireSupported } from './version.ts';

/*
 * What libcni's skeleton does around each Go plugin is done here around each plugin of this process: the version is
 * checked before, prevResult is read, and the result must be one that the version asked for can express.
 */

/** @throws {CniError} the plugin's; nothing of the attachment is left then. */
export async function addBuiltin(
  plugin: Plugin,
  config: PluginConfig,
  attachment: Attachment,
  plugins: PluginRunner,
): Promise<Result> {
  requireSupported(config.cniVersion, plugin.versions);
  const call = { config, attachment, prevResult: readPrevResult(config), plugins };
  const result = await plugin.add(call);
  try {
    encodeResult(result, config.cniVersion);
  } catch (thrown) {
    const { code, message, details } = toCniError(thrown);
    const undone = await plugin.delete(call).then(
      () => details,
      (second: unknown) => `${details}; it could not be undone: ${toCniError(second).message}`,
    );
    throw new CniError(code, message, undone, { cause: thrown });
  }
  return result;
}

/** A prevResult that cannot be read counts as none: what the attachment holds must be released all the same. */
export async function deleteBuiltin(
  plugin: Plugin,
  config: PluginConfig,
  attachment: Attachment,
  plugins: PluginRunner,
): Promise<void> {
  requireSupported(config.cniVersion, plugin.versions);
  await plugin.delete({ config, attachment, prevResult: readPrevResultOrNone(config), plugins });
}

export async function checkBuiltin(
  plugin: Plugin,
  config: PluginConfig,
  attachment: Attachment,
  plugins: PluginRunner,
): Promise<void> {
  requireCommand(config.cniVersion, 'CHECK');
  requireSupported(config.cniVersion, plugin.versions);
  await plugin.check({ config, attachment, prevResult: readPrevResult(config), plugins });
}

export async function statusBuiltin(plugin: Plugin, call: NetworkCall): Promise<void> {
  requireCommand(call.config.cniVersion, 'STATUS');
  requireSupported(call.config.cniVersion, plugin.versions);
  await plugin.status?.(call);
}

export async function gcBuiltin(plugin: Plugin, call: NetworkCall): Promise<void> {
  requireCommand(call.config.cniVersion, 'GC');
  requireSupported(call.config.cniVersion, plugin.versions);
  await plugin.gc?.(call);
}

function readPrevResultOrNone(config: PluginConfig): PluginCall['prevResult'] {
  try {
    return readPrevResult(config);
  } catch {
    return undefined;
  }
}
