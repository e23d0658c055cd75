import { mkdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { create, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { Server, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import {
  AllocateResponseSchema,
  type ContainerAllocateResponseSchema,
  DevicePlugin,
  DevicePluginOptionsSchema,
  ListAndWatchResponseSchema,
  PreferredAllocationResponseSchema,
  Registration,
} from '../kubelet/device-plugin_pb.ts';
import { definitionOf, listen, openChannel } from '../kubelet/grpc.ts';
import { removeFile } from '../linux/atomic-file.ts';
import type { ContainerDevices } from './allocation.ts';
import type { Resource } from './config.ts';
import { pluginDirectory, registrationSocket } from './node.ts';
import type { Offer, Offered } from './offer.ts';
import { preferred } from './preferred.ts';

/** One registration: it is a few bytes, and kubelet calls back later. */
const bounds = { maxMessage: 1 << 16, limit: 5_000 };

export interface ResourceServerOptions {
  readonly kubeletDir: string;
  readonly resource: Resource;
  /** What a container gets for devices of the resource. */
  give(devices: readonly Offered[]): ContainerDevices & { readonly cdiNames: readonly string[] };
  /** Called after each allocation of one container; with the reason where it failed. */
  allocated(ids: readonly string[], failure: string | undefined): void;
}

/** The device plugin of one resource: kubelet's API v1beta1. */
export class ResourceServer implements AsyncDisposable {
  readonly #options: ResourceServerOptions;
  readonly #socket: string;
  #offer: Offer = new Map();
  #server: Server | undefined;
  /** Which kubelet knows of this server: its socket, by what no other has. */
  #registered: string | undefined;
  readonly #watchers = new Set<Watcher>();

  constructor(options: ResourceServerOptions) {
    this.#options = options;
    const { prefix, name } = options.resource;
    this.#socket = join(pluginDirectory(options.kubeletDir), `${prefix}_${name}.sock`);
  }

  /** Tells whoever listens. */
  update(offer: Offer): void {
    this.#offer = offer;
    for (const watcher of this.#watchers) watcher.write(this.#list());
  }

  /**
   * Listens where nobody does, and registers where kubelet does not know of it: a kubelet that starts removes all sockets
   * of plugins and makes its own anew.
   *
   * @returns Whether it has registered now.
   * @throws {Error} when there is no kubelet, or it refuses.
   */
  async check(): Promise<boolean> {
    const kubelet = registrationSocket(this.#options.kubeletDir);
    if (this.#server === undefined || !(await identity(this.#socket))) await this.#listen();
    const there = await identity(kubelet);
    if (there === undefined) throw new Error(`kubelet has no socket ${kubelet}`);
    if (there === this.#registered) return false;
    using channel = openChannel(kubelet, bounds);
    await channel.call(Registration.method.register, {
      version: 'v1beta1',
      endpoint: basename(this.#socket),
      resourceName: this.#options.resource.fullName,
      options: { getPreferredAllocationAvailable: true },
    });
    this.#registered = there;
    return true;
  }

  /** Kubelet counts no device of the resource from then on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await removeFile(this.#socket);
  }

  async #listen(): Promise<void> {
    this.#stop();
    await mkdir(dirname(this.#socket), { recursive: true, mode: 0o750 });
    await removeFile(this.#socket);
    const server = new Server();
    server.addService(definitions, this.#methods());
    await listen(server, this.#socket);
    this.#server = server;
  }

  #stop(): void {
    // Closing it removes its socket by name: the next one must not be there before.
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.#registered = undefined;
    this.#watchers.clear();
  }

  #list() {
    const { excludeTopology } = this.#options.resource;
    const devices = [...this.#offer].map(([id, { device, fault }]) => ({
      id,
      health: fault === undefined ? 'Healthy' : 'Unhealthy',
      ...(device.numaNode !== undefined &&
        !excludeTopology && { topology: { nodes: [{ id: BigInt(device.numaNode) }] } }),
    }));
    return create(ListAndWatchResponseSchema, { devices });
  }

  #methods() {
    const { resource, give, allocated } = this.#options;
    return {
      getDevicePluginOptions: (_call: object, answer: sendUnaryData<unknown>): void => {
        answer(null, create(DevicePluginOptionsSchema, { getPreferredAllocationAvailable: true }));
      },
      listAndWatch: (call: Watcher): void => {
        this.#watchers.add(call);
        call.on('cancelled', () => this.#watchers.delete(call));
        call.on('error', () => this.#watchers.delete(call));
        call.write(this.#list());
      },
      getPreferredAllocation: ({ request }: Call<'getPreferredAllocation'>, answer: sendUnaryData<unknown>): void => {
        const containerResponses = request.containerRequests.map(
          ({ availableDeviceIds, mustIncludeDeviceIds, allocationSize }) => ({
            deviceIds: preferred(this.#offer, availableDeviceIds, mustIncludeDeviceIds, allocationSize),
          }),
        );
        answer(null, create(PreferredAllocationResponseSchema, { containerResponses }));
      },
      allocate: ({ request }: Call<'allocate'>, answer: sendUnaryData<unknown>): void => {
        const containerResponses: MessageInitShape<typeof ContainerAllocateResponseSchema>[] = [];
        for (const { deviceIds } of request.containerRequests) {
          const devices = deviceIds.flatMap((id) => this.#offer.get(id) ?? []);
          const failure = unusable(resource, deviceIds, this.#offer);
          allocated(deviceIds, failure);
          if (failure !== undefined) {
            answer({ code: status.FAILED_PRECONDITION, details: failure });
            return;
          }
          const { files, environment, cdiNames } = give(devices);
          containerResponses.push({
            envs: environment,
            devices: [...files],
            cdiDevices: cdiNames.map((name) => ({ name })),
          });
        }
        answer(null, create(AllocateResponseSchema, { containerResponses }));
      },
    };
  }
}

const { getDevicePluginOptions, listAndWatch, getPreferredAllocation, allocate } = DevicePlugin.method;

const definitions = {
  getDevicePluginOptions: definitionOf(getDevicePluginOptions),
  listAndWatch: definitionOf(listAndWatch),
  getPreferredAllocation: definitionOf(getPreferredAllocation),
  allocate: definitionOf(allocate),
};

type Watcher = ServerWritableStream<unknown, MessageShape<typeof ListAndWatchResponseSchema>>;

interface Call<M extends keyof typeof definitions> {
  readonly request: ReturnType<(typeof definitions)[M]['requestDeserialize']>;
}

/** Why devices cannot be given to a container. */
function unusable({ fullName }: Resource, ids: readonly string[], offer: Offer): string | undefined {
  for (const id of ids) {
    const offered = offer.get(id);
    if (offered === undefined) return `${fullName} has no device ${id}`;
    if (offered.fault !== undefined) return `device ${id} of ${fullName} cannot be used: ${offered.fault}`;
  }
  return undefined;
}

/** What a file at a path has, and none that takes its place. */
async function identity(path: string): Promise<string | undefined> {
  const about = await stat(path, { bigint: true }).catch(() => undefined);
  return about && `${about.dev}:${about.ino}:${about.ctimeNs}`;
}
