import { subscribe } from 'node:diagnostics_channel';
import { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { objectSchema } from '../src/playground/api/object.ts';
import { pods } from '../src/playground/api/resources.ts';
import { startApi } from '../src/playground/api/server.ts';

/*
 * The embedded API in a process of its own, as the API server of a cluster is: bench/api.ts starts it and asks it. It
 * ends with the one who asks.
 */

const questionSchema = z.discriminatedUnion('ask', [
  /** Makes objects; answered with their UIDs. */
  z.object({ ask: z.literal('create'), objects: z.array(objectSchema) }),
  /** Deletes all pods; answered with how many there were. */
  z.object({ ask: z.literal('empty') }),
  /** Answered with the requests since the last such question. */
  z.object({ ask: z.literal('requests') }),
  /** Answered with the milliseconds of processor time that this process has used. */
  z.object({ ask: z.literal('cpu') }),
]);

type Question = z.infer<typeof questionSchema>;

/** When each request arrived, in milliseconds of CLOCK_MONOTONIC, which all processes share. */
let requests: { readonly at: number; readonly what: string }[] = [];

const started = z.object({ request: z.instanceof(IncomingMessage) });
subscribe('http.server.request.start', (message) => {
  const { request } = started.parse(message);
  requests.push({ at: Number(process.hrtime.bigint()) / 1e6, what: `${request.method} ${request.url}` });
});

const api = await startApi();
process.once('disconnect', () => process.exit());
process.on('message', (message) => process.send?.({ answer: answerTo(questionSchema.parse(message)) }));
process.send?.({ answer: api.kubeconfig() });

function answerTo(question: Question): unknown {
  switch (question.ask) {
    case 'create':
      return question.objects.map((object) => api.store.create(object).metadata.uid);
    case 'empty': {
      const all = api.store.list(pods);
      for (const { metadata } of all) api.store.delete(pods, metadata.namespace, metadata.name, {});
      return all.length;
    }
    case 'requests': {
      const since = requests;
      requests = [];
      return since;
    }
    case 'cpu': {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    }
  }
}
