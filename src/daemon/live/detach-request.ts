import { z } from 'zod';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { parseJson } from '../../cni/parse-json.ts';
import { parseWith } from '../../cni/schema.ts';
import type { Live } from './live.ts';

/** The name under which `plexus detach --now` calls; no plugin has it. */
export const detachName = 'plexus-detach';

const source = 'the request to detach';

const text = z.string('expected text').min(1, 'expected text').max(512, 'expected at most 512 characters');

const schema = z.strictObject({
  namespace: text,
  pod: text,
  /** The interface's name, or `namespace/name` of the network. */
  target: text,
});

export type DetachRequest = z.infer<typeof schema>;

/** What was detached. */
export const detachedSchema = z.object({ interface: z.string(), network: z.string() });

/**
 * Detaches one network of a running pod.
 *
 * @param stdin A {@link DetachRequest}.
 * @returns JSON of {@link detachedSchema}.
 * @throws {CniError}
 */
export async function answerDetach(stdin: string, live: Live | undefined): Promise<string> {
  const { namespace, pod, target } = parseWith(schema, parseJson(stdin, source), source);
  if (live === undefined) {
    throw new CniError(ErrorCode.InvalidEnvironment, 'this daemon has no cluster: pods have the default network alone');
  }
  const { ifName, network } = await live.follower.detach({ namespace, name: pod }, target);
  return JSON.stringify({ interface: ifName, network } satisfies z.infer<typeof detachedSchema>);
}
