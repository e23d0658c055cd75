import type { JsonValue } from '../../cni/json.ts';

/** HTTP status for each reason of meta/v1 Status that is used here. */
const codes = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  AlreadyExists: 409,
  Conflict: 409,
  Expired: 410,
  RequestEntityTooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  TooManyRequests: 429,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
} as const;

export type Reason = keyof typeof codes;

type Details = { readonly [key: string]: JsonValue };

/** An answer that is not a success: becomes a meta/v1 Status object. */
export class Failure extends Error {
  readonly status: number;
  readonly reason: Reason;
  readonly details: Details;

  constructor(reason: Reason, message: string, details: Details = {}) {
    super(message);
    this.status = codes[reason];
    this.reason = reason;
    this.details = details;
  }

  /** The Status object. */
  get body(): JsonValue {
    const { status: code, reason, message, details } = this;
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      details: { ...details },
      code,
    };
  }
}
