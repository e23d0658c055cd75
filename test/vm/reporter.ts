import type { EventData } from 'node:test';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';
import type { GuestEvent } from './guest-event.ts';

/** A reporter of node's test runner, in the VM: one JSON object a line, for the test on the host that follows it. */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const told = tell(event);
    if (told !== undefined) yield `${JSON.stringify(told)}\n`;
  }
}

function tell({ type, data }: TestEvent): GuestEvent | undefined {
  switch (type) {
    case 'test:pass':
      return result(data);
    case 'test:fail': {
      const { error } = data.details;
      return { ...result(data), failure: error.cause instanceof Error ? inspect(error.cause) : error.message };
    }
    case 'test:stdout':
    case 'test:stderr':
      return { type: 'output', text: data.message };
    default:
      return undefined;
  }
}

function result({ name, nesting, entryFile, file = '', skip, todo }: EventData.TestPass | EventData.TestFail) {
  const skipped = skip ?? todo;
  return {
    type: 'result',
    nesting,
    name,
    file: entryFile ?? file,
    ...(skipped !== undefined && skipped !== false && { skipped: skipped === true ? 'without a reason' : skipped }),
  } as const;
}
