import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ResultDNS } from '../../cni/result.ts';

/** resolv.conf(5) files are some lines; whatever is larger is none. Bytes. */
const maxSize = 64 * 1024;

/**
 * Reads a resolv.conf as a result's dns.
 *
 * Only a regular file is read, and without waiting: the path comes from a configuration and could name a FIFO or a
 * device that never ends.
 *
 * @throws {Error} naming the path, when it cannot be read, is no regular file or too large.
 */
export async function readResolvConf(path: string): Promise<ResultDNS> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  const stat = await file.stat();
  if (!stat.isFile()) throw new Error(`resolvConf ${path}: expected a regular file`);
  if (stat.size > maxSize) throw new Error(`resolvConf ${path}: expected at most ${maxSize} bytes, found ${stat.size}`);
  const { bytesRead, buffer } = await file.read(Buffer.alloc(maxSize), 0, maxSize, 0);
  return parseResolvConf(buffer.toString('utf8', 0, bytesRead));
}

/** Lines of unknown keywords, and those without a value, are left out. The last `domain` counts; the others add up. */
export function parseResolvConf(text: string): ResultDNS {
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  for (const line of text.split('\n')) {
    const [keyword, value, ...more] = line.trim().split(/\s+/);
    if (value === undefined) continue;
    if (keyword === 'nameserver') nameservers.push(value);
    else if (keyword === 'domain') domain = value;
    else if (keyword === 'search') search.push(value, ...more);
    else if (keyword === 'options') options.push(value, ...more);
  }
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  };
}
