import { z } from 'zod';
import { Records, recordSchema } from '../records.ts';
import { leaseSchema } from './lease.ts';

/* What is known of leases of IPv4. */

const hex = z.string().regex(/^([0-9a-f]{2})*$/);

const schema = recordSchema.extend({
  broadcast: z.boolean(),
  /** What each message says: code and value. */
  options: z.array(z.tuple([z.int().min(1).max(254), hex])),
  lease: leaseSchema.optional(),
  /** What the server was asked for last, which it may have noted without that being known here. */
  offered: leaseSchema.pick({ address: true, server: true, serverMac: true }).optional(),
});

export type LeaseRecord = z.output<typeof schema>;

export const leaseRecords = (directory: string): Records<LeaseRecord> => new Records(directory, '.json', schema);
