import type { DaemonConfig } from '../daemon/config.ts';
import { SpoolDirectory, spoolDirectory, type Waiting } from '../daemon/spool/directory.ts';
import { podIn } from '../daemon/spool/request.ts';

/** A request that the shim left while no daemon answered. */
export interface Spooled extends Waiting {
  /** `namespace/name`, where the request says. */
  readonly pod: string | undefined;
  readonly since: Date | undefined;
}

export interface Spool {
  readonly path: string;
  /** The oldest first. */
  readonly waiting: readonly Spooled[];
  /** Paths of what the daemon could make no sense of. */
  readonly setAside: readonly string[];
}

/**
 * Looks at what waits for the daemon, and changes nothing.
 *
 * @param wanted `namespace/name` of a pod, or the beginning of a container's ID; undefined for all.
 */
export async function readSpool(config: DaemonConfig, wanted?: string): Promise<Spool> {
  const directory = SpoolDirectory.look(spoolDirectory(config));
  const { waiting, setAside } = await directory.list();
  const all = await Promise.all(
    waiting.map(async (each): Promise<Spooled> => {
      const content = await directory.read(each);
      return { ...each, pod: content && podIn(content.bytes, each), since: content?.since };
    }),
  );
  const isWanted = ({ pod, containerId }: Spooled): boolean =>
    wanted === undefined || (wanted.includes('/') ? pod === wanted : containerId.startsWith(wanted));
  return {
    path: directory.path,
    waiting: all.filter(isWanted).toSorted((a, b) => Number(a.since ?? 0) - Number(b.since ?? 0)),
    setAside: setAside.map((name) => `${directory.path}/${name}`),
  };
}
