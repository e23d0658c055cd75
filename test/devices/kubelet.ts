import { EventEmitter, once } from 'node:events';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { create, type MessageShape } from '@bufbuild/protobuf';
import { Server, type sendUnaryData } from '@grpc/grpc-js';
import { pluginDirectory } from '../../src/devices/node.ts';
import {
  type AllocateResponseSchema,
  DevicePlugin,
  EmptySchema,
  type RegisterRequest,
  Registration,
} from '../../src/kubelet/device-plugin_pb.ts';
import { type Channel, definitionOf, listen, openChannel } from '../../src/kubelet/grpc.ts';

/** Milliseconds that a test takes at most to hear of something. */
const limit = 60_000;

const register = definitionOf(Registration.method.register);

/**
 * Kubelet's device manager, as far as plugins see it: it removes their sockets when it starts, takes registrations, asks
 * for the options and follows the devices.
 */
export class Kubelet implements AsyncDisposable {
  readonly #directory: string;
  readonly #server = new Server();
  readonly #channels = new Map<string, Channel>();
  readonly #news = new EventEmitter();
  /** Every registration, in order. */
  readonly registrations: RegisterRequest[] = [];
  /** `id health node` of each device, by resource. */
  readonly devices = new Map<string, readonly string[]>();

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async start(kubeletDir: string): Promise<Kubelet> {
    const kubelet = new Kubelet(pluginDirectory(kubeletDir));
    const directory = kubelet.#directory;
    await mkdir(directory, { recursive: true });
    for (const name of await readdir(directory)) await rm(join(directory, name));
    kubelet.#server.addService(
      { register },
      {
        register({ request }: { readonly request: RegisterRequest }, answer: sendUnaryData<unknown>) {
          kubelet.registrations.push(request);
          answer(null, create(EmptySchema));
          void kubelet.#follow(request);
        },
      },
    );
    await listen(kubelet.#server, join(directory, 'kubelet.sock'));
    return kubelet;
  }

  async #follow({ resourceName, endpoint }: RegisterRequest): Promise<void> {
    this.#channels.get(resourceName)?.[Symbol.dispose]();
    const channel = openChannel(join(this.#directory, endpoint), { maxMessage: 16 << 20, limit });
    this.#channels.set(resourceName, channel);
    try {
      for await (const { devices } of channel.stream(DevicePlugin.method.listAndWatch, {})) {
        const listed = devices.map(({ id, health, topology }) => {
          const nodes = topology?.nodes.map((node) => node.id) ?? [];
          return [id, health, ...nodes].join(' ');
        });
        this.devices.set(resourceName, listed);
        this.#news.emit('news');
      }
    } catch {
      this.devices.delete(resourceName);
    }
    this.#news.emit('news');
  }

  /** Waits until a resource has these devices. */
  async sees(resource: string, expected: readonly string[] | undefined): Promise<void> {
    const signal = AbortSignal.timeout(limit);
    while (JSON.stringify(this.devices.get(resource)) !== JSON.stringify(expected)) {
      await once(this.#news, 'news', { signal }).catch(() => {
        const found = JSON.stringify(this.devices.get(resource));
        throw new Error(`expected ${JSON.stringify(expected)} of ${resource}, found ${found}`);
      });
    }
  }

  channel(resource: string): Channel {
    const channel = this.#channels.get(resource);
    if (channel === undefined) throw new Error(`${resource} is not registered`);
    return channel;
  }

  /** @throws {Error} of gRPC. */
  async allocate(resource: string, ...deviceIds: string[]): Promise<MessageShape<typeof AllocateResponseSchema>> {
    return this.channel(resource).call(DevicePlugin.method.allocate, { containerRequests: [{ deviceIds }] });
  }

  /** Ends as a kubelet that is killed: its socket stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const channel of this.#channels.values()) channel[Symbol.dispose]();
    this.#server.forceShutdown();
  }
}
