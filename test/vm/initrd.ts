import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { staticBusybox } from '../../tools/debian.ts';
import type { Kernel } from '../../tools/kernel.ts';
import { run } from '../../tools/run.ts';

/** What it takes to reach the host's files and ports; all else is loaded from there when it is needed. */
const modules = ['virtio_pci', 'virtio_console', '9pnet_virtio', '9p', 'overlay'];

/**
 * The first files of the test VM, as an archive in cpio(5) format "newc", which the kernel unpacks.
 *
 * @param command A script for sh(1): what the VM is to run.
 */
export async function makeInitrd(kernel: Kernel, command: string): Promise<Buffer> {
  const busybox = await staticBusybox();
  const tree = await mkdtemp(join(tmpdir(), 'plx-initrd-'));
  try {
    await mkdir(join(tree, 'bin'));
    await mkdir(join(tree, 'modules'));
    await cp(busybox, join(tree, 'bin/busybox'));
    await cp(join(import.meta.dirname, 'init.sh'), join(tree, 'init'));
    await chmod(join(tree, 'init'), 0o755);
    await cp(join(import.meta.dirname, 'start.sh'), join(tree, 'start.sh'));
    await writeFile(join(tree, 'command.sh'), command);
    await writeFile(join(tree, 'modules/directory'), dirname(kernel.modules));
    await writeFile(join(tree, 'modules/order'), await copyModules(kernel, busybox, join(tree, 'modules')));
    const names = await run('find', ['.'], { cwd: tree });
    return await run(busybox, ['cpio', '-o', '-H', 'newc'], { cwd: tree, input: names });
  } finally {
    await rm(tree, { recursive: true });
  }
}

/** @returns Their names, one a line, in the order in which they can be inserted. */
async function copyModules(kernel: Kernel, busybox: string, into: string): Promise<string> {
  const order = new Set<string>();
  for (const module of modules) {
    const args = ['--dirname', kernel.root, '--set-version', kernel.release, '--show-depends', module];
    const text = (await run('modprobe', args)).toString();
    // A line is "insmod /the/file.ko" with a space at its end, or "builtin NAME".
    for (const [, file = ''] of text.matchAll(/^insmod (.+?) *$/gm)) order.add(file);
  }
  let names = '';
  for (const file of order) {
    const content = await readFile(file);
    const plain = file.endsWith('.xz') ? await run(busybox, ['unxz', '-c'], { input: content }) : content;
    const name = basename(file, '.xz');
    await writeFile(join(into, name), plain);
    names += `${name}\n`;
  }
  return names;
}
