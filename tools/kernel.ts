import { readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { ensureCommands, unpacked } from './debian.ts';
import { isThere, run } from './run.ts';

/** Debian's kernel, unpacked but not installed. */
export interface Kernel {
  /** What uname -r says when it runs. */
  readonly release: string;
  /** What a virtual machine boots. */
  readonly image: string;
  /** Where it was unpacked: what modprobe takes as --dirname. */
  readonly root: string;
  /** Its modules, with the indexes that modprobe needs. */
  readonly modules: string;
}

/**
 * The kernel of this machine's Debian release.
 *
 * @throws {Error} that says what to do.
 */
export async function debianKernel(): Promise<Kernel> {
  if (process.arch !== 'x64') throw new Error(`the test VM is for x86-64 machines; this one is ${process.arch}`);
  await ensureCommands(['modprobe', 'xz']);
  const root = await unpacked({
    name: 'linux-image-amd64',
    origin: 'release',
    package: (apt) => apt.dependencyOf('linux-image-amd64'),
    prepare,
  });
  const release = await releaseIn(root);
  const [image] = await filterThere([join(root, 'boot/vmlinux'), join(root, `boot/vmlinuz-${release}`)]);
  if (image === undefined) throw new Error(`${root} holds no kernel: remove it, and it is fetched anew`);
  return { release, image, root, modules: join(root, 'lib/modules', release) };
}

async function filterThere(paths: readonly string[]): Promise<string[]> {
  const there = await Promise.all(paths.map((path) => isThere(path)));
  return paths.filter((_, index) => there[index]);
}

async function releaseIn(root: string): Promise<string> {
  const [release] = await readdir(join(root, 'lib/modules'));
  if (release === undefined) throw new Error(`${root}/lib/modules is empty: remove ${root}, and it is fetched anew`);
  return release;
}

async function prepare(root: string): Promise<void> {
  // From trixie on, /lib is a link on every machine, which packages no longer fill.
  if (!(await isThere(join(root, 'lib')))) await symlink('usr/lib', join(root, 'lib'));
  const release = await releaseIn(root);
  await run('depmod', ['--basedir', root, release]);
  const image = await decompressed(await readFile(join(root, `boot/vmlinuz-${release}`)));
  if (image !== undefined) await writeFile(join(root, 'boot/vmlinux'), image);
}

/**
 * The ELF file inside a bzImage (Documentation/arch/x86/boot.rst in Linux: payload_offset, payload_length). Unpacking
 * itself is the slowest thing that an emulated machine does at boot.
 *
 * @returns undefined for a compression that is not known here.
 */
async function decompressed(bzImage: Buffer): Promise<Buffer | undefined> {
  const setupSectors = bzImage.readUInt8(0x1f1) || 4;
  const start = (setupSectors + 1) * 512 + bzImage.readUInt32LE(0x248);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(0x24c));
  const withoutSize = payload.subarray(0, -4); // all but gzip are followed by the size of what they hold
  switch (payload.toString('hex', 0, 4)) {
    case 'fd377a58':
      return run('xz', ['--decompress', '--stdout'], { input: withoutSize });
    case '28b52ffd':
      return promisify(zstdDecompress)(withoutSize);
    case '1f8b0800':
      return promisify(gunzip)(payload);
    default:
      return undefined;
  }
}
