import { CniError, ErrorCode } from './error.ts';

/** Every released version of the CNI specification, oldest first. */
export const cniVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export type CniVersion = (typeof cniVersions)[number];

export const newestVersion: CniVersion = '1.1.0';

/** What a configuration without `cniVersion` is written in, as the specification says. */
export const defaultVersion: CniVersion = '0.1.0';

export const commands = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;

export type Command = (typeof commands)[number];

const firstVersionWith: Readonly<Record<Command, CniVersion>> = {
  ADD: '0.1.0',
  DEL: '0.1.0',
  VERSION: '0.2.0',
  CHECK: '0.4.0',
  GC: '1.1.0',
  STATUS: '1.1.0',
};

export function isCniVersion(version: string): version is CniVersion {
  return cniVersions.some((known) => known === version);
}

/** Whether the specification of that version has the command. */
export function hasCommand(version: string, command: Command): boolean {
  return compareVersions(version, firstVersionWith[command]) >= 0;
}

/**
 * Refuses a command that the configuration's version does not have.
 *
 * @throws {CniError} 1 in the words of libcni's plugins.
 */
export function requireCommand(version: string, command: Command): void {
  if (hasCommand(version, command)) return;
  const details = `config is "${version}", ${command} exists from ${firstVersionWith[command]}`;
  throw new CniError(ErrorCode.IncompatibleVersion, `config version does not allow ${command}`, details);
}

/**
 * Refuses a configuration whose version a plugin does not speak.
 *
 * @throws {CniError} 1 in the words of libcni's plugins.
 */
export function requireSupported(version: string, supported: readonly string[]): void {
  if (supported.includes(version)) return;
  const list = supported.map((each) => `"${each}"`).join(' ');
  const details = `config is "${version}", plugin supports [${list}]`;
  throw new CniError(ErrorCode.IncompatibleVersion, 'incompatible CNI versions', details);
}

/**
 * Orders two versions: negative when `a` is older, 0 when equal, positive when newer.
 *
 * @throws {CniError} 6 when one is not a version.
 */
export function compareVersions(a: string, b: string): number {
  const left = parseVersion(a);
  const right = parseVersion(b);
  return left[0] - right[0] || left[1] - right[1] || left[2] - right[2];
}

/** Missing parts are 0: `0.1` is 0.1.0, as in examples of the first specifications. */
function parseVersion(text: string): readonly [number, number, number] {
  const match = /^(\d{1,5})(?:\.(\d{1,5}))?(?:\.(\d{1,5}))?$/.exec(text);
  if (match === null) {
    throw new CniError(ErrorCode.DecodingFailure, `expected a CNI version such as ${newestVersion}, found "${text}"`);
  }
  return [Number(match[1]), Number(match[2] ?? 0), Number(match[3] ?? 0)];
}

/**
 * Chooses the version to call plugins in: the newest that is both known here and named by the configuration's
 * `cniVersion` or `cniVersions` (specification 1.1.0, section "Configuration format").
 *
 * @throws {CniError} 1 when none is known, 6 when one is not a version.
 */
export function negotiateVersion(
  cniVersion: string | undefined,
  others: readonly string[] = [],
  supported: readonly string[] = cniVersions,
): string {
  const offered = [...(cniVersion ? [cniVersion] : []), ...others].sort(compareVersions);
  if (offered.length === 0) return defaultVersion;
  const chosen = offered.findLast((version) => supported.includes(version));
  if (chosen !== undefined) return chosen;
  throw new CniError(
    ErrorCode.IncompatibleVersion,
    `expected a cniVersion of ${supported.join(', ')}, found ${offered.join(', ')}`,
  );
}
