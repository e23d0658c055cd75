import { z } from 'zod';

/** What the reporter in the VM tells the host, one JSON object a line. */
export const guestEvent = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('result'),
    /** Those of one level deeper come before the one that they are part of. */
    nesting: z.number(),
    name: z.string(),
    file: z.string(),
    /** Why it failed, as it is to be shown. Absent: it did not. */
    failure: z.string().optional(),
    /** The reason for which it was left out or need not pass. Absent: it was not. */
    skipped: z.string().optional(),
  }),
  z.strictObject({ type: z.literal('output'), text: z.string() }),
]);

export type GuestEvent = z.infer<typeof guestEvent>;
export type GuestResult = Extract<GuestEvent, { type: 'result' }>;
