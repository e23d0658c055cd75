import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Server, type sendUnaryData } from '@grpc/grpc-js';
import { definitionOf, listen } from '../kubelet/grpc.ts';
import {
  GetPodResourcesResponseSchema,
  ListPodResourcesResponseSchema,
  PodResourcesLister,
  type PodResourcesSchema,
} from '../kubelet/pod-resources_pb.ts';

/** What kubelet gave to one pod. */
export type GivenResources = MessageInitShape<typeof PodResourcesSchema>;

export interface PodResourcesOptions {
  /** Whether it offers Get, as kubelet does where its feature gate KubeletPodResourcesGet is on. */
  readonly offersGet?: boolean;
}

/**
 * Serves kubelet's API of pod resources.
 *
 * @param socket Path of the socket; its directory is made.
 * @param given What all pods have at the time of a call.
 */
export async function servePodResources(
  socket: string,
  given: () => readonly GivenResources[],
  { offersGet = true }: PodResourcesOptions = {},
): Promise<AsyncDisposable> {
  const { list, get } = PodResourcesLister.method;
  const listed = definitionOf(list);
  const got = definitionOf(get);
  const server = new Server();
  server.addService(
    { list: listed, ...(offersGet && { get: got }) },
    {
      list(_call: object, answer: sendUnaryData<unknown>) {
        answer(null, create(ListPodResourcesResponseSchema, { podResources: [...given()] }));
      },
      get(
        { request }: { readonly request: ReturnType<typeof got.requestDeserialize> },
        answer: sendUnaryData<unknown>,
      ) {
        const { podName, podNamespace } = request;
        const podResources = given().find(({ name, namespace }) => name === podName && namespace === podNamespace);
        if (podResources !== undefined) answer(null, create(GetPodResourcesResponseSchema, { podResources }));
        else answer(new Error(`pod ${podName} in namespace ${podNamespace} not found`));
      },
    },
  );
  await mkdir(dirname(socket), { recursive: true });
  await listen(server, socket);
  return {
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}
