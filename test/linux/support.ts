import { execFile } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { promisify } from 'node:util';
import { z } from 'zod';
import { type Link, links } from '../../src/linux/link.ts';
import type { LinkKind } from '../../src/linux/link-kind.ts';
import type { Rtnetlink } from '../../src/linux/rtnetlink.ts';

const execute = promisify(execFile);
const objects = z.array(z.looseObject({}));

/** What iproute2 says about a namespace: the second opinion on all that is made here. */
export async function ip(namespace: string, ...args: readonly string[]): Promise<z.infer<typeof objects>> {
  const { stdout } = await execute('nsenter', [`--net=${namespace}`, 'ip', '-j', '-d', ...args]);
  return objects.parse(JSON.parse(stdout || '[]')).filter((object) => Object.keys(object).length > 0);
}

/** Lets iproute2 change a namespace. */
export async function ipChange(namespace: string, ...args: readonly string[]): Promise<void> {
  await execute('nsenter', [`--net=${namespace}`, 'ip', ...args]);
}

export async function create(netlink: Rtnetlink, name: string, kind: LinkKind, up = true): Promise<Link> {
  const [, link] = await netlink.run(links.create({ name, kind, up }), links.get({ name }));
  return link;
}

/** The open files of this process, apart from those that are open while it looks. */
export function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      return [];
    }
  });
}
