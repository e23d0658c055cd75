import { z } from 'zod';
import { Records, recordSchema } from '../records.ts';
import { leaseSchema } from './lease.ts';

/* What is known of leases of IPv6, beside those of IPv4. */

const schema = recordSchema.extend({
  /** What servers know the interface by, in hexadecimal digits. */
  duid: z.string().regex(/^([0-9a-f]{2})+$/),
  lease: leaseSchema.optional(),
  /** What a server was asked for last, which it may have noted without that being known here. */
  offered: leaseSchema.pick({ address: true, server: true }).optional(),
});

export type LeaseRecord = z.output<typeof schema>;

export const leaseRecords = (directory: string): Records<LeaseRecord> => new Records(directory, '.v6.json', schema);
