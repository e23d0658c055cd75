import { callDaemon } from '../../daemon/client.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { type DetachRequest, detachedSchema, detachName } from '../../daemon/live/detach-request.ts';
import { messageIn } from '../gc/release.ts';
import type { ChangeRow } from './report.ts';

/** Milliseconds for one DEL; executed plugins may take two minutes each. */
const answerMs = 300_000;

/**
 * Has the daemon of this node detach a network of a pod, and hold it back.
 *
 * @throws {Error} when no daemon answers, or what it answers.
 */
export async function detachNow(
  { socket }: DaemonConfig,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  target: string,
): Promise<ChangeRow> {
  if (process.getuid?.() !== 0) throw new Error('plexus detach --now asks the daemon of this node: run it as root');
  const request: DetachRequest = { namespace, pod: name, target };
  const call = { name: detachName, env: {}, stdin: JSON.stringify(request) };
  const { exitStatus, stdout } = await callDaemon(socket, call, answerMs).catch((cause: unknown) => {
    throw new Error(`no daemon answers at ${socket}; give the options that the daemon has, or start it`, { cause });
  });
  if (exitStatus !== 0) throw new Error(messageIn(stdout));
  const detached = detachedSchema.parse(JSON.parse(stdout));
  return { pod: `${namespace}/${name}`, ...detached, state: 'held' };
}
