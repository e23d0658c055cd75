import { CniError, ErrorCode } from './error.ts';

/** CNI_ARGS: `KEY=VALUE` pairs separated by semicolons. Keys are case-sensitive. */
export type CniArgs = ReadonlyMap<string, string>;

/**
 * Reads CNI_ARGS.
 *
 * @throws {CniError} 4 when a pair has no `=`, as libcni's plugins answer.
 */
export function parseArgs(text: string): CniArgs {
  const args = new Map<string, string>();
  if (text === '') return args;
  for (const pair of text.split(';')) {
    const at = pair.indexOf('=');
    if (at <= 0) {
      throw new CniError(ErrorCode.InvalidEnvironment, `ARGS: invalid pair "${pair}" in CNI_ARGS, expected KEY=VALUE`);
    }
    args.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return args;
}

export function formatArgs(args: CniArgs): string {
  return [...args].map(([key, value]) => `${key}=${value}`).join(';');
}

/**
 * Refuses keys that a plugin does not know, as libcni's plugins do unless IgnoreUnknown=1 is among them.
 *
 * @throws {CniError} 999 listing the unknown pairs.
 */
export function requireKnownArgs(args: CniArgs, known: readonly string[]): void {
  const ignore = args.get('IgnoreUnknown')?.toLowerCase();
  if (ignore === '1' || ignore === 'true' || ignore === 't') return;
  const unknown = [...args].filter(([key]) => key !== 'IgnoreUnknown' && !known.includes(key));
  if (unknown.length > 0) {
    const pairs = unknown.map(([key, value]) => JSON.stringify(`${key}=${value}`)).join(' ');
    throw new CniError(ErrorCode.Internal, `ARGS: unknown args [${pairs}]`);
  }
}
