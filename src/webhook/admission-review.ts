import { z } from 'zod';
import type { JsonObject, JsonValue } from '../cni/json.ts';
import { issuesOf } from '../kubernetes/issues.ts';

/** A request that is no AdmissionReview. */
export class NotAReview extends Error {}

const object = z.looseObject({}).nullish();

/** admission.k8s.io/v1 AdmissionReview, as much of a request as is asked here. */
const reviewSchema = z.object({
  apiVersion: z.literal('admission.k8s.io/v1'),
  kind: z.literal('AdmissionReview'),
  request: z.object({
    uid: z.string().min(1),
    resource: z.object({ group: z.string(), resource: z.string() }),
    subResource: z.string().nullish(),
    operation: z.enum(['CREATE', 'UPDATE', 'DELETE', 'CONNECT']),
    namespace: z.string().default(''),
    name: z.string().default(''),
    object,
    oldObject: object,
  }),
});

export type AdmissionRequest = z.infer<typeof reviewSchema>['request'];

/** One operation of a JSON patch (RFC 6902). */
export interface PatchOperation extends JsonObject {
  readonly op: 'add';
  readonly path: string;
  readonly value: JsonValue;
}

/** What is said to a request. */
export interface Verdict {
  /** Why it is refused; undefined where it is not. */
  readonly refusal?: string | undefined;
  readonly patch?: readonly PatchOperation[];
  /** What whoever made the request is shown. */
  readonly warnings?: readonly string[];
}

/** Longer ones are cut by the API server, together if need be (Kubernetes: "Dynamic Admission Control", Response). */
const maxWarning = 256;

/** @throws {NotAReview} */
export function readReview(body: string): AdmissionRequest {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (error) {
    throw new NotAReview(`expected JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const parsed = reviewSchema.safeParse(json);
  if (!parsed.success) throw new NotAReview(`expected an AdmissionReview: ${issuesOf(parsed.error)}`);
  return parsed.data.request;
}

/** The AdmissionReview that answers. */
export function answerOf({ uid }: Pick<AdmissionRequest, 'uid'>, verdict: Verdict): JsonObject {
  const { refusal, patch = [], warnings = [] } = verdict;
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed: refusal === undefined,
      ...(refusal !== undefined && { status: { code: 422, reason: 'Invalid', message: refusal } }),
      ...(patch.length > 0 && { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
      ...(warnings.length > 0 && { warnings: warnings.map(shortened) }),
    },
  };
}

/** One line, as it is sent in a header. */
function shortened(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ');
  return line.length > maxWarning ? `${line.slice(0, maxWarning - 3)}...` : line;
}
