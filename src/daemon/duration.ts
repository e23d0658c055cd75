import { z } from 'zod';

/** Seconds for each unit of Go's time.ParseDuration that makes sense here. */
const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };

/** A span of time as Go writes it, such as 10m or 1h30m; read as seconds. */
export const duration = z
  .string('expected a duration such as 10m or 1h30m')
  .regex(/^(\d+(\.\d+)?(h|ms|m|s))+$/, 'expected a duration such as 10m or 1h30m')
  .transform((text) =>
    [...text.matchAll(/([\d.]+)([a-z]+)/g)].reduce(
      (sum, [, count, unit = '']) => sum + Number(count) * (units[unit] ?? 0),
      0,
    ),
  );
