/** Error codes of the CNI specification 1.1.0, section "Error", and 999, which libcni's plugins use for all else. */
export const ErrorCode = {
  IncompatibleVersion: 1,
  UnsupportedField: 2,
  UnknownContainer: 3,
  InvalidEnvironment: 4,
  IoFailure: 5,
  DecodingFailure: 6,
  InvalidNetworkConfig: 7,
  InvalidNetNS: 8,
  TryAgainLater: 11,
  PluginNotAvailable: 50,
  LimitedConnectivity: 51,
  Internal: 999,
} as const;

/** An error that a CNI caller can act on: it becomes the JSON that the runtime reads from standard output. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: number;
  readonly details: string;

  /**
   * @param code One of {@link ErrorCode}, or a plugin's own code from 100.
   * @param message What was wanted, what was found and where, in one sentence.
   * @param details What to do, or what a deeper layer said; may be empty.
   */
  constructor(code: number, message: string, details = '', options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/**
 * Turns whatever was thrown into a {@link CniError}, keeping one that already is. Of a failure that could not be undone
 * (`await using` throws both), the first one counts and the details tell the other.
 */
export function toCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  if (thrown instanceof SuppressedError) {
    const { code, message, details } = toCniError(thrown.suppressed);
    const undo = `it could not be undone: ${toCniError(thrown.error).message}`;
    return new CniError(code, message, details === '' ? undo : `${details}; ${undo}`, { cause: thrown });
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CniError(ErrorCode.Internal, message, '', { cause: thrown });
}

/**
 * The JSON that a plugin prints where it fails (specification 1.1.0, section "Error").
 *
 * @param cniVersion That of the configuration, or the newest where none could be read.
 */
export function renderError(error: CniError, cniVersion: string): string {
  const { code, message: msg, details } = error;
  return JSON.stringify({ cniVersion, code, msg, ...(details !== '' && { details }) }, undefined, 4);
}
