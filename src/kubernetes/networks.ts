import { CniError, ErrorCode } from '../cni/error.ts';
import { type Client, segment } from './client.ts';
import { isNotFound } from './error.ts';
import type { Log } from './log.ts';
import { type NetworkAttachmentDefinition, networkSchema } from './schemas.ts';
import { Reflector, type WatchTimings } from './watch.ts';

/** No NetworkAttachmentDefinition has that name. */
export class NetworkNotFoundError extends CniError {}

const group = '/apis/k8s.cni.cncf.io/v1';
const resource = 'network-attachment-definitions';

/** At most this many existing names are told to one who asks for another. */
const namesTold = 10;

export interface NetworksOptions {
  readonly client: Client;
  readonly log: Log;
  readonly timings?: Partial<WatchTimings>;
}

/** The NetworkAttachmentDefinitions of the cluster. */
export class Networks implements AsyncDisposable {
  readonly watch: Reflector<NetworkAttachmentDefinition>;
  readonly #client: Client;
  readonly #log: Log;
  /** A hundred pods that start together and ask for the same unseen network ask the server once. */
  readonly #fetches = new Map<string, Promise<NetworkAttachmentDefinition>>();

  constructor({ client, log, timings = {} }: NetworksOptions) {
    this.#client = client;
    this.#log = log;
    this.watch = new Reflector({ client, path: `${group}/${resource}`, schema: networkSchema, log, timings });
  }

  /**
   * One definition: from the watch while that is up to date, else from the server, else from the watch as it was.
   *
   * @throws {NetworkNotFoundError} which says what the namespace does have. {CniError} 11 when it cannot be known now.
   */
  async get(namespace: string, name: string): Promise<NetworkAttachmentDefinition> {
    const known = this.watch.get(namespace, name);
    if (known !== undefined && this.watch.live) return known;
    try {
      return await this.#fetchOnce(namespace, name);
    } catch (error) {
      if (isNotFound(error)) {
        const wanted = `cannot find a network-attachment-definition (${name}) in namespace (${namespace})`;
        throw new NetworkNotFoundError(ErrorCode.InvalidNetworkConfig, `${wanted}: ${this.#existing(namespace)}`, '', {
          cause: error,
        });
      }
      const message = error instanceof Error ? error.message : String(error);
      if (known !== undefined) {
        this.#log.warn({ network: `${namespace}/${name}`, error: message }, 'using the network as it was last seen');
        return known;
      }
      const wanted = `cannot read network-attachment-definition ${namespace}/${name} from the Kubernetes API`;
      throw new CniError(ErrorCode.TryAgainLater, wanted, message, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch.close();
  }

  #fetchOnce(namespace: string, name: string): Promise<NetworkAttachmentDefinition> {
    const key = `${namespace}/${name}`;
    const running = this.#fetches.get(key);
    if (running !== undefined) return running;
    const fetch = this.#fetch(namespace, name).finally(() => this.#fetches.delete(key));
    this.#fetches.set(key, fetch);
    return fetch;
  }

  async #fetch(namespace: string, name: string): Promise<NetworkAttachmentDefinition> {
    const path = `${group}/namespaces/${segment('namespace', namespace)}/${resource}/${segment('network', name)}`;
    return networkSchema.parse(await this.#client.request({ path, timeout: 5_000 }));
  }

  #existing(namespace: string): string {
    const names = [...this.watch.values()]
      .filter((network) => network.metadata.namespace === namespace)
      .map((network) => network.metadata.name)
      .sort();
    if (names.length === 0) return 'the namespace has none';
    const more = names.length > namesTold ? ` and ${names.length - namesTold} more` : '';
    return `the namespace has ${names.slice(0, namesTold).join(', ')}${more}`;
  }
}
