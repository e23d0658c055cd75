import assert from 'node:assert/strict';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/cni/json.ts';
import { type Api, type ApiOptions, startApi } from '../../src/playground/api/server.ts';

export interface Answer {
  readonly status: number;
  readonly body: JsonObject;
}

export interface Asked {
  readonly body?: JsonValue | string;
  readonly type?: string;
  readonly accept?: string;
}

/** An embedded API, and what it answers to plain HTTP. */
export async function servedApi(options: ApiOptions = {}) {
  const api = await startApi(options);
  return {
    api,
    ask: (method: string, path: string, asked: Asked = {}): Promise<Answer> => ask(api, method, path, asked),
    [Symbol.asyncDispose]: () => api.close(),
  };
}

async function ask(api: Api, method: string, path: string, asked: Asked): Promise<Answer> {
  const { body, type = 'application/json', accept = 'application/json' } = asked;
  const response = await fetch(api.url + path, {
    method,
    headers: { 'content-type': type, accept },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const answer: unknown = await response.json();
  assert.ok(isJsonObject(answer));
  return { status: response.status, body: answer };
}

/** Reads a watch's lines, each an event, until `enough` of them have come. */
export async function watched(api: Api, path: string, enough: number, started: () => void = () => {}) {
  const stop = new AbortController();
  const response = await fetch(api.url + path, { signal: stop.signal });
  assert.equal(response.status, 200);
  started();
  const events: JsonObject[] = [];
  let rest = '';
  for await (const chunk of response.body ?? []) {
    const lines = (rest + Buffer.from(chunk).toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const event: unknown = JSON.parse(line);
      assert.ok(isJsonObject(event));
      events.push(event);
    }
    if (events.length >= enough) break;
  }
  stop.abort();
  return events;
}
