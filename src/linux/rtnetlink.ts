import { NetworkNamespace } from './namespace.ts';
import type { Request, Results } from './netlink/request.ts';
import { NetlinkSocket, type Outcome } from './netlink/socket.ts';

export type { Request, Results } from './netlink/request.ts';
export type { Outcome } from './netlink/socket.ts';

/** linux/netlink.h */
const NETLINK_ROUTE = 0;

/**
 * The routing socket of one namespace (rtnetlink(7)): its links, addresses, routes, rules and neighbours.
 *
 *     using netlink = Rtnetlink.open(namespace);
 *     const [, link] = await netlink.run(links.create({ name: 'net1', ... }), links.get({ name: 'net1' }));
 */
export class Rtnetlink implements Disposable {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** @throws {KernelError} */
  static open(namespace: NetworkNamespace = NetworkNamespace.host()): Rtnetlink {
    return new Rtnetlink(NetlinkSocket.open(namespace, NETLINK_ROUTE));
  }

  /**
   * Sends requests, all in one message as far as possible, and resolves to their answers.
   *
   * @throws {KernelError} of the first that failed. The kernel has gone on with those after it.
   */
  async run<const R extends readonly Request<unknown>[]>(...requests: R): Promise<Results<R>> {
    const values: unknown[] = [];
    for (const outcome of await this.settle(...requests)) {
      if (!outcome.ok) throw outcome.error;
      values.push(outcome.value);
    }
    if (!areResultsOf(requests, values)) throw new Error('a request was left without an answer');
    return values;
  }

  /** Sends requests as {@link run} does, and resolves to how each ended. */
  async settle<T>(...requests: readonly Request<T>[]): Promise<Outcome<T>[]> {
    const outcomes: Outcome<T>[] = [];
    let batch: Request<T>[] = [];
    const flush = async (): Promise<void> => {
      if (batch.length > 0) outcomes.push(...(await this.#socket.batch(batch)));
      batch = [];
    };
    for (const request of requests) {
      if (request.isDump) {
        await flush();
        outcomes.push(await this.#socket.dump(request));
      } else {
        batch.push(request);
      }
    }
    await flush();
    return outcomes;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** The values stand in the order of the requests, and each was read by its own request's `decode`. */
function areResultsOf<R extends readonly Request<unknown>[]>(
  requests: R,
  values: readonly unknown[],
): values is Results<R> {
  return values.length === requests.length;
}
