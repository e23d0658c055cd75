import { splitPath } from '../../cni/invocation.ts';
import type { JsonObject } from '../../cni/json.ts';
import type { Journal } from '../../journal/journal.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import type { Answer, Request } from '../frame.ts';
import type { Live } from '../live/live.ts';
import { RuntimeCall } from '../live/runtime-call.ts';
import type { Logger } from '../log.ts';
import { type RecoveryContext, releaseIncomplete } from '../recovery.ts';
import { type Adopted, adopt, adoptAll } from './adopt.ts';
import { announce } from './announce.ts';
import { SpoolDirectory, spoolDirectory, type Waiting } from './directory.ts';
import { Replay } from './replay.ts';

export interface OpenedSpool {
  readonly directory: SpoolDirectory;
  /** What the shim attached by itself, and the journal has by now. */
  readonly adopted: readonly Adopted[];
}

/**
 * Opens the spool, and takes into the journal what the shim attached by itself. To be called before anybody else asks the
 * journal what there is.
 */
export async function openSpool(
  config: { readonly stateDir: string; readonly binDir: string },
  journal: Journal,
  log: Logger,
): Promise<OpenedSpool> {
  const directory = await SpoolDirectory.open(spoolDirectory(config));
  const adopted = await adoptAll({ directory, journal, log });
  const last = adopted.at(-1);
  // What else such pods ask for is attached by the configuration that they came with.
  if (last !== undefined) await noteCall(await RuntimeCall.open(config.stateDir), last, config.binDir);
  return { directory, adopted };
}

export interface SpoolContext {
  readonly answer: (request: Request) => Promise<Answer>;
  readonly recovery: RecoveryContext;
  readonly live: Live | undefined;
  readonly cluster: Cluster | undefined;
  /** The daemon's configuration: it overlays what the runtime sends. */
  readonly overlay: JsonObject;
  readonly binDir: string;
  readonly signal: AbortSignal;
}

/** Begins with what waits, and tells pods that were adopted what they lack. */
export function startSpool({ directory, adopted }: OpenedSpool, context: SpoolContext): Promise<Replay> {
  const { answer, recovery } = context;
  const { journal, log } = recovery;
  for (const each of adopted) tell(each, context);
  const adoptLate = async (waiting: Waiting): Promise<boolean> => {
    const late = await adopt(waiting, { directory, journal, log });
    if (late === 'under way') return false;
    if (late !== undefined) await take(late, context);
    return true;
  };
  return Replay.start({ directory, answer, adopt: adoptLate, log });
}

/** What the shim was still attaching when the daemon came. What it did not end is released before the sandbox's next call. */
async function take(adopted: Adopted, context: SpoolContext): Promise<void> {
  const { recovery, live, binDir, signal } = context;
  const { attachment, result } = adopted;
  if (result === undefined) {
    const { containerId, ifName } = attachment;
    releaseIncomplete([{ containerId, ifName }], recovery, signal).catch((error: unknown) =>
      recovery.log.error({ err: error }, 'recovery'),
    );
    return;
  }
  if (live !== undefined) await noteCall(live.runtimeCall, adopted, binDir);
  live?.follower.added(attachment, undefined, true);
  tell(adopted, context);
}

function tell(adopted: Adopted, { cluster, overlay, signal, recovery }: SpoolContext): void {
  if (cluster === undefined || adopted.result === undefined) return;
  announce(adopted, { cluster, overlay, signal }).catch((error: unknown) =>
    recovery.log.warn({ pod: adopted.pod, err: error }, 'a pod could not be told that it has its default network only'),
  );
}

function noteCall(runtimeCall: RuntimeCall, { config, attachment }: Adopted, binDir: string): Promise<void> {
  return runtimeCall.note(config, [...new Set([...splitPath(binDir), ...attachment.path])]);
}
