import type { z } from 'zod';
import { formatPath } from '../cni/schema.ts';

/** More problems than this in one message help nobody. */
const maxIssues = 5;

/** What zod has against a value, on one line: `metadata.name: Invalid input: expected string, received number`. */
export function issuesOf(error: z.ZodError): string {
  const issues = error.issues.slice(0, maxIssues).map(({ path, message }) => {
    const where = formatPath(path);
    return where === '' ? message : `${where}: ${message}`;
  });
  const more = error.issues.length - maxIssues;
  return more > 0 ? `${issues.join('; ')}; and ${more} more` : issues.join('; ');
}
