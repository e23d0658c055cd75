import { type Request, RequestReader } from '../frame.ts';
import type { Waiting } from './directory.ts';

/**
 * Reads the frame of a request that was left.
 *
 * @throws {Error} saying what is wrong with it, or that it is not the one that its name says.
 */
export function decodeRequest(frame: Uint8Array, waiting: Waiting): Request {
  const request = new RequestReader().push(frame);
  if (request === undefined) throw new Error(`the request ends after ${frame.length} bytes, in its midst`);
  const { name, env } = request;
  const found = [name, env['CNI_COMMAND'], env['CNI_CONTAINERID'], env['CNI_IFNAME']];
  const wanted = [waiting.plugin, waiting.command, waiting.containerId, waiting.ifName];
  if (found.some((each, index) => each !== wanted[index])) {
    throw new Error(`the request is "${found.join(' ')}", and by its name "${wanted.join(' ')}"`);
  }
  return request;
}

/**
 * A request as it can be carried out later. A namespace that was named by a process is left out: that process is gone, and
 * its number may be another's.
 */
export function laterRequest({ name, env, stdin }: Request): Request {
  const { CNI_NETNS: netns = '', ...rest } = env;
  return netns.startsWith('/proc/') ? { name, env: rest, stdin } : { name, env, stdin };
}

/** `namespace/name` of the pod that a call is for; undefined where it does not say. */
export function podNamed({ env }: Request): string | undefined {
  const args = env['CNI_ARGS'] ?? '';
  const namespace = /(?:^|;)K8S_POD_NAMESPACE=([^;]+)/.exec(args)?.[1];
  const name = /(?:^|;)K8S_POD_NAME=([^;]+)/.exec(args)?.[1];
  return namespace && name ? `${namespace}/${name}` : undefined;
}

/** The same, of what was read of a file; undefined also where that makes no sense. */
export function podIn(bytes: Uint8Array, waiting: Waiting): string | undefined {
  try {
    return podNamed(decodeRequest(bytes, waiting));
  } catch {
    return undefined;
  }
}
