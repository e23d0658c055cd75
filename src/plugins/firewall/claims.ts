import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { removeFile } from '../../linux/atomic-file.ts';
import { formatIP, type IP, parseIP } from '../../net/ip.ts';
import { digest, type Owner } from '../masquerade/identity.ts';

/*
 * Who has which address: the rules for it do not say. An empty directory is right where another plugin made the rules. A
 * claim is a file, whose name says all that is asked of many at once; rules and /run last until the same moment.
 */

/** By what an address is let through. */
export type Means = z.output<typeof means>;

const means = z.object({
  backend: z.enum(['iptables', 'nftables', 'firewalld']),
  /** Of firewalld. */
  zone: z.string(),
  /** Of nftables, as the configuration has it. */
  chain: z.string(),
});

export interface Claim {
  readonly address: IP;
  /** Digests of who has it. */
  readonly network: string;
  readonly attachment: string;
  readonly path: string;
}

const fileName = /^([0-9a-f.:]+),([0-9a-f]{16})-([0-9a-f]{16})$/;

/** All claims; none where there is no directory. */
export async function listClaims(directory: string): Promise<readonly Claim[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  return names.flatMap((name): Claim[] => {
    const [, address, network, attachment] = fileName.exec(name) ?? [];
    if (address === undefined || isIP(address) === 0 || network === undefined || attachment === undefined) return [];
    return [{ address: parseIP(address), network, attachment, path: join(directory, name) }];
  });
}

/** Claims addresses. Whoever else of the network still had one is gone, or the address would not have been given away. */
export async function claim(directory: string, owner: Owner, addresses: readonly IP[], by: Means): Promise<void> {
  if (addresses.length === 0) return;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { network, attachment } = digestsOf(owner);
  const wanted = new Set(addresses.map(formatIP));
  const stale = (await listClaims(directory)).filter((each) => {
    return wanted.has(formatIP(each.address)) && each.network === network && each.attachment !== attachment;
  });
  for (const ip of addresses) {
    const path = join(directory, `${formatIP(ip)},${network}-${attachment}`);
    await writeFile(path, JSON.stringify({ ...by, ...owner }), { mode: 0o600 });
  }
  for (const { path } of stale) await removeFile(path);
}

/** @returns undefined where the file is torn or gone. */
export async function meansOf({ path }: Claim): Promise<Means | undefined> {
  try {
    return means.safeParse(JSON.parse(await readFile(path, 'utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What the claims of an attachment are told by; as in the comments of the rules of ipMasq. */
export function digestsOf({ network, containerId, ifName }: Owner): Pick<Claim, 'network' | 'attachment'> {
  return { network: digest(network, 16), attachment: digest(`${ifName}:${containerId}`, 16) };
}
