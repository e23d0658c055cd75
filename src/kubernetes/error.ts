import { z } from 'zod';
import { issuesOf } from './issues.ts';

/** A request to the API server that did not succeed. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** HTTP status; undefined when there was no answer at all. */
  readonly status: number | undefined;
  /** The machine-readable reason of the Status object, such as NotFound. */
  readonly reason: string | undefined;
  /** Milliseconds that the server asks to wait before trying again. */
  readonly retryAfter: number | undefined;
  /** The reasons of the Status object's causes, such as ResourceVersionTooLarge. */
  readonly causes: readonly string[];

  constructor(
    message: string,
    facts: {
      status?: number;
      reason?: string | undefined;
      retryAfter?: number | undefined;
      causes?: readonly string[];
    },
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.status = facts.status;
    this.reason = facts.reason;
    this.retryAfter = facts.retryAfter;
    this.causes = facts.causes ?? [];
  }
}

const statusSchema = z.object({
  kind: z.literal('Status'),
  message: z.string().optional(),
  reason: z.string().optional(),
  code: z.number().optional(),
  details: z
    .object({
      retryAfterSeconds: z.number().nonnegative().optional(),
      causes: z.array(z.object({ reason: z.string().optional() })).nullish(),
    })
    .nullish(),
});

/**
 * Reads what came with a failed request, normally a Status object.
 *
 * @param operation What was wanted and of whom, as `GET /api/v1/pods of https://10.0.0.1`.
 */
export function apiErrorOf(operation: string, status: number, body: unknown, retryAfterHeader?: string): ApiError {
  const parsed = statusSchema.safeParse(body);
  const header = Number(retryAfterHeader ?? Number.NaN);
  if (!parsed.success) {
    const retryAfter = Number.isFinite(header) ? header * 1000 : undefined;
    return new ApiError(`${operation}: HTTP status ${status}`, { status, retryAfter });
  }
  const { message, reason, code = status, details } = parsed.data;
  const seconds = details?.retryAfterSeconds ?? (Number.isFinite(header) ? header : undefined);
  const what = reason === undefined || reason === '' ? code : `${code} ${reason}`;
  return new ApiError(`${operation}: ${what}: ${message ?? 'no message'}`, {
    status: code,
    reason,
    retryAfter: seconds === undefined ? undefined : seconds * 1000,
    causes: (details?.causes ?? []).flatMap((cause) => cause.reason ?? []),
  });
}

/** The object is not there. */
export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

/** Whether the same request may succeed a little later: no answer, an overloaded or a restarting server. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.status === undefined || error.status === 408 || error.status === 429 || error.status >= 500;
}

/** What was thrown, on one line, for a log or a message of our own. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof z.ZodError) return issuesOf(thrown);
  return thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
}
