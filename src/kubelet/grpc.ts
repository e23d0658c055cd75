import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, type Server, ServerCredentials, type ServiceError } from '@grpc/grpc-js';

/*
 * Calls of one message, answered by one or by a stream of them, over unix sockets. Whoever imports this loads gRPC and
 * HTTP/2, which are 15 MB: it is to be imported where the first call is made.
 */

/** A method as generated descriptions have it, with the types of its messages. */
export type Method<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly input: I;
  readonly output: O;
};

export interface Channel extends Disposable {
  /** @throws {Error} of gRPC, which has a `code` (status.proto). */
  call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>>;
  /**
   * Calls a method that answers with a stream. Whoever leaves the loop over it ends the call.
   *
   * @throws {Error} of gRPC, in the loop.
   */
  stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
  ): AsyncIterable<MessageShape<O>>;
}

export interface ChannelOptions {
  /** Bytes of one message. */
  readonly maxMessage: number;
  /** Milliseconds for all calls together, the connection included. */
  readonly limit: number;
}

/**
 * A way to who listens on a socket. Nothing is connected before the first call.
 *
 * @param path Of the socket.
 */
export function openChannel(path: string, { maxMessage, limit }: ChannelOptions): Channel {
  const deadline = Date.now() + limit;
  const client = new Client(`unix:${path}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessage,
    // The environment of a daemon may name a proxy, which has nothing to do with this node's sockets.
    'grpc.enable_http_proxy': 0,
  });
  return {
    call(method, request) {
      const { promise, resolve, reject } = Promise.withResolvers<MessageShape<typeof method.output>>();
      const { path, requestSerialize, responseDeserialize } = definitionOf(method);
      const done = (error: ServiceError | null, answer?: MessageShape<typeof method.output>): void => {
        if (error === null && answer !== undefined) resolve(answer);
        else reject(error ?? new Error(`${path}: no answer`));
      };
      const message = create(method.input, request);
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, { deadline }, done);
      return promise;
    },
    stream(method, request) {
      const { path, requestSerialize, responseDeserialize } = definitionOf(method);
      const message = create(method.input, request);
      return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, message, { deadline });
    },
    [Symbol.dispose]: () => client.close(),
  };
}

/** A method as gRPC wants it, of either end. */
export function definitionOf<I extends DescMessage, O extends DescMessage>({
  parent,
  name,
  input,
  output,
  methodKind,
}: Method<I, O>) {
  const options = { readUnknownFields: false };
  return {
    path: `/${parent.typeName}/${name}`,
    requestStream: false,
    responseStream: methodKind === 'server_streaming',
    requestSerialize: (message: MessageShape<I>) => Buffer.from(toBinary(input, message)),
    requestDeserialize: (bytes: Buffer): MessageShape<I> => fromBinary(input, bytes, options),
    responseSerialize: (message: MessageShape<O>) => Buffer.from(toBinary(output, message)),
    responseDeserialize: (bytes: Buffer): MessageShape<O> => fromBinary(output, bytes, options),
  } as const;
}

/**
 * Lets a server listen on a unix socket.
 *
 * @param path Of a socket that is not there yet.
 * @throws {Error} of the kernel.
 */
export async function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
    if (error === null) resolve();
    else reject(error);
  });
  await promise;
}
