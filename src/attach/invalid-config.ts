import { CniError, ErrorCode, toCniError } from '../cni/error.ts';

/**
 * Runs what reads a user's words; what it throws is an invalid network configuration.
 *
 * @param where Which network it is about, as the message begins.
 */
export function invalidConfig<T>(read: () => T, where?: string): T {
  try {
    return read();
  } catch (error) {
    const { message, details } = toCniError(error);
    const text = where === undefined ? message : `${where}: ${message}`;
    throw new CniError(ErrorCode.InvalidNetworkConfig, text, details, { cause: error });
  }
}
