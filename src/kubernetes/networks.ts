import { CniError, ErrorCode } from '../cni/error.ts';
import { Cached } from './cached.ts';
import type { Client } from './client.ts';
import type { Log } from './log.ts';
import { type NetworkAttachmentDefinition, networkSchema } from './schemas.ts';
import type { Reflector, WatchTimings } from './watch.ts';

/** No NetworkAttachmentDefinition has that name. */
export class NetworkNotFoundError extends CniError {}

/** At most this many existing names are told to one who asks for another. */
const namesTold = 10;

export interface NetworksOptions {
  readonly client: Client;
  readonly log: Log;
  readonly timings?: Partial<WatchTimings>;
}

/** The NetworkAttachmentDefinitions of the cluster. */
export class Networks implements AsyncDisposable {
  readonly #networks: Cached<NetworkAttachmentDefinition>;

  constructor(options: NetworksOptions) {
    this.#networks = new Cached({
      ...options,
      kind: 'network-attachment-definition',
      root: '/apis/k8s.cni.cncf.io/v1',
      plural: 'network-attachment-definitions',
      schema: networkSchema,
    });
  }

  get watch(): Reflector<NetworkAttachmentDefinition> {
    return this.#networks.watch;
  }

  /**
   * One definition: from the watch while that is up to date, else from the server, else from the watch as it was.
   *
   * @throws {NetworkNotFoundError} which says what the namespace does have. {CniError} 11 when it cannot be known now.
   */
  async get(namespace: string, name: string): Promise<NetworkAttachmentDefinition> {
    const network = await this.#networks.get(namespace, name);
    if (network !== undefined) return network;
    const wanted = `cannot find a network-attachment-definition (${name}) in namespace (${namespace})`;
    throw new NetworkNotFoundError(
      ErrorCode.InvalidNetworkConfig,
      `${wanted}${this.#existing(namespace)}`,
      'correct the name in the annotation of the pod, as namespace/name for one of another namespace, or create it',
    );
  }

  /**
   * One definition where there may well be none. That there is none is taken from the watch while that is up to date: it
   * costs no pod a request.
   *
   * @throws {CniError} 11 when it cannot be known now.
   */
  look(namespace: string, name: string): Promise<NetworkAttachmentDefinition | undefined> {
    return this.#networks.look(namespace, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#networks[Symbol.asyncDispose]();
  }

  #existing(namespace: string): string {
    if (!this.watch.listed) return '';
    const names = [...this.watch.values()]
      .filter((network) => network.metadata.namespace === namespace)
      .map((network) => network.metadata.name)
      .sort();
    if (names.length === 0) return ': the namespace has none';
    const more = names.length > namesTold ? ` and ${names.length - namesTold} more` : '';
    return `: the namespace has ${names.slice(0, namesTold).join(', ')}${more}`;
  }
}
