import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const directory = resolve(import.meta.dirname, '../../src/linux');

const headers = [
  'sched.h',
  'sys/file.h',
  'sys/mount.h',
  'sys/socket.h',
  'linux/devlink.h',
  'linux/fib_rules.h',
  'linux/genetlink.h',
  'linux/if.h',
  'linux/if_addr.h',
  'linux/if_arp.h',
  'linux/if_bridge.h',
  'linux/if_link.h',
  'linux/if_tun.h',
  'linux/neighbour.h',
  'linux/netfilter/nfnetlink_conntrack.h',
  'linux/nsfs.h',
  'linux/pkt_cls.h',
  'linux/pkt_sched.h',
  'linux/rtnetlink.h',
  'linux/tc_act/tc_mirred.h',
  'linux/veth.h',
  'linux/if_ether.h',
  'errno.h',
];

/** The C library has a header of the same purpose, which would hide the numbers of linux/if.h. */
const prelude = '#define _GNU_SOURCE\n#define __UAPI_DEF_IF_NET_DEVICE_FLAGS 1\n#define __UAPI_DEF_IF_IFNAMSIZ 1\n';

/** Constants that are written in the sources: `const NAME = 0x10;`, and the members of the tables below. */
function constantsOf(text: string): [name: string, value: number][] {
  return [...text.matchAll(/^(?:export )?const ([A-Z][A-Z0-9_]+) = ([\d_xa-f]+(?: << \d+)?);$/gm)].map(
    ([, name = '', value = '']) => {
      const [number, shift = '0'] = value.replaceAll('_', '').split(' << ');
      return [name, Number(number?.replace(/^0(?=\d)/, '0o')) * 2 ** Number(shift)];
    },
  );
}

const tables: readonly [name: string, prefix: string, suffix: (key: string) => string][] = [
  ['macvlanModes', 'MACVLAN_MODE_', (key) => key.toUpperCase()],
  ['ipvlanModes', 'IPVLAN_MODE_', (key) => key.toUpperCase()],
  ['Scope', 'RT_SCOPE_', (key) => key.toUpperCase()],
];

function membersOf(text: string): [name: string, value: number][] {
  return tables.flatMap(([table, prefix, suffix]) => {
    const [, body = ''] = new RegExp(`const ${table} = \\{ ([^}]*) \\}`).exec(text) ?? [];
    return [...body.matchAll(/(\w+): (\d+)/g)].map(([, key = '', value]): [string, number] => [
      prefix + suffix(key),
      Number(value),
    ]);
  });
}

test("every number of the kernel's interface is what the kernel's headers say", async (t) => {
  const constants = new Map<string, number>();
  for (const entry of await readdir(directory, { recursive: true })) {
    if (!entry.endsWith('.ts')) continue;
    const text = await readFile(join(directory, entry), 'utf8');
    for (const [name, value] of [...constantsOf(text), ...membersOf(text)]) {
      assert.equal(constants.get(name) ?? value, value, `${name} has two values`);
      constants.set(name, value);
    }
  }
  assert.ok(constants.size > 100, `only ${constants.size} constants found`);
  const work = await mkdtemp(join(tmpdir(), 'plx-headers-'));
  t.after(() => rm(work, { recursive: true }));
  const includes = headers.map((header) => `#include <${header}>\n`).join('');
  const prints = [...constants.keys()]
    .map((name) => `printf("%s %lld\\n", "${name}", (long long)(${name}));\n`)
    .join('');
  await writeFile(join(work, 'numbers.c'), `${prelude}#include <stdio.h>\n${includes}int main(void) {\n${prints}}\n`);
  await execute('cc', ['-o', join(work, 'numbers'), join(work, 'numbers.c')]);
  const { stdout } = await execute(join(work, 'numbers'));
  const said = new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([name, value]) => [name, Number(value)]),
  );
  assert.deepEqual(Object.fromEntries(constants), Object.fromEntries(said));
});
