import { mkdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Apt, debianRelease, type Origin } from './apt.ts';
import { locked } from './lock.ts';
import { findCommand, isThere, run } from './run.ts';

/*
 * What tests, demo and bench need beside npm's packages, from Debian: commands are installed on the machine where they
 * are missing; what only this repository uses is unpacked under build/debian. What is there costs a look at the disk.
 */

const cache = resolve(import.meta.dirname, '../build/debian');
const lock = join(cache, 'lock');

interface Provider {
  /** The first of these that the release has. */
  readonly packages: readonly string[];
  /** What shows that it is there, for what is no command. */
  readonly file?: string;
  /** The releases of Debian (VERSION_ID) that have it in their backports only. */
  readonly backports?: readonly string[];
}

const providers = {
  dnsmasq: { packages: ['dnsmasq-base'] },
  'dbus-send': { packages: ['dbus-bin', 'dbus'] },
  gcc: { packages: ['gcc'] },
  ip: { packages: ['iproute2'] },
  iptables: { packages: ['iptables'] },
  kubectl: { packages: ['kubectl', 'kubernetes-client'] },
  'libc6-dev': { packages: ['libc6-dev'], file: '/usr/include/stdio.h' },
  modprobe: { packages: ['kmod'] },
  nft: { packages: ['nftables'] },
  openssl: { packages: ['openssl'] },
  protoc: { packages: ['protobuf-compiler'] },
  // 7.2 of bookworm has no igb device, the only one with virtual functions.
  'qemu-system-x86_64': { packages: ['qemu-system-x86'], backports: ['12'] },
  xz: { packages: ['xz-utils'] },
} as const satisfies Record<string, Provider>;

/** What {@link ensureCommands} can see to: commands, and the C library's headers. */
export type Command = keyof typeof providers;

export const commands: readonly string[] = Object.keys(providers);

export function isCommand(name: string): name is Command {
  return Object.hasOwn(providers, name);
}

/**
 * Installs on this machine what is missing of these.
 *
 * @throws {Error} that says what to do.
 */
export async function ensureCommands(commands: readonly Command[]): Promise<void> {
  if ((await missing(commands)).length === 0) return;
  await locked(lock, async () => {
    const { version } = await debianRelease();
    const isBackport = (provider: Provider): boolean => provider.backports?.includes(version) ?? false;
    const wanted: readonly Provider[] = (await missing(commands)).map((command) => providers[command]);
    await install(
      'release',
      wanted.filter((provider) => !isBackport(provider)),
    );
    await install('backports', wanted.filter(isBackport));
  });
  const still = await missing(commands);
  if (still.length > 0) throw new Error(`${still.join(', ')}: still missing after its package was installed`);
}

async function missing(commands: readonly Command[]): Promise<Command[]> {
  const found = await Promise.all(commands.map(isPresent));
  return commands.filter((_, index) => !found[index]);
}

async function isPresent(command: Command): Promise<boolean> {
  const provider: Provider = providers[command];
  return provider.file === undefined ? (await findCommand(command)) !== undefined : isThere(provider.file);
}

async function install(origin: Origin, wanted: readonly Provider[]): Promise<void> {
  if (wanted.length === 0) return;
  if (process.getuid?.() !== 0) {
    const names = wanted.map(({ packages }) => packages[0]);
    throw new Error(`${names.join(', ')}: not installed; run this as root, or apt-get install them`);
  }
  const apt = await open(origin);
  const available = await apt.available(wanted.flatMap(({ packages }) => packages));
  const chosen = wanted.map(({ packages }) => {
    const name = packages.find((candidate) => available.includes(candidate));
    if (name === undefined) throw new Error(`Debian's ${origin} has no package ${packages.join(' or ')}`);
    return name;
  });
  say(`installing ${chosen.join(', ')}`);
  await apt.install(chosen);
}

function open(origin: Origin): Promise<Apt> {
  return Apt.open(origin, join(cache, 'apt'));
}

interface Unpacking {
  /** The name of its folder under build/debian. */
  readonly name: string;
  readonly origin: Origin;
  readonly package: (apt: Apt) => string | Promise<string>;
  /** The upstream version that is wanted, or the beginning of it up to a full stop. Absent: any. */
  readonly version?: string;
  /** Completes what was unpacked, given its folder. */
  readonly prepare?: (directory: string) => Promise<void>;
}

/**
 * Downloads and unpacks a package, whole or not at all.
 *
 * @returns Its folder.
 * @throws {Error} that says what to do.
 */
export async function unpacked(unpacking: Unpacking): Promise<string> {
  const directory = join(cache, unpacking.name);
  if (await isThere(directory)) return directory;
  return locked(lock, async () => {
    if (await isThere(directory)) return directory;
    const apt = await open(unpacking.origin);
    const name = await unpacking.package(apt);
    say(`getting ${name}`);
    const work = join(cache, '.new');
    await rm(work, { recursive: true, force: true }); // of one that was killed
    await mkdir(work, { recursive: true });
    try {
      const { file, version } = await apt.download(name, work);
      expectVersion(name, version, unpacking);
      const tree = join(work, 'tree');
      await run('dpkg-deb', ['--extract', file, tree]);
      await unpacking.prepare?.(tree);
      await rename(tree, directory);
    } finally {
      await rm(work, { recursive: true });
    }
    return directory;
  });
}

function expectVersion(name: string, found: string, { version: wanted, origin }: Unpacking): void {
  if (wanted === undefined || `${found.replace(/^\d+:/, '').replace(/[+~-].*/, '')}.`.startsWith(`${wanted}.`)) return;
  throw new Error(
    `Debian's ${origin} has ${name} ${found}, wanted was ${wanted}: see what the newer one changed, then name it in tools/debian.ts`,
  );
}

/** Versions of the containernetworking plugins to compare with, and where Debian has them. */
const goPluginVersions = { '1.1': 'release', '1.9': 'unstable' } as const satisfies Record<string, Origin>;
export type GoPluginsVersion = keyof typeof goPluginVersions;

/** The directory that holds the binaries of the containernetworking plugins. */
export async function goPlugins(version: GoPluginsVersion): Promise<string> {
  const directory = await unpacked({
    name: `containernetworking-plugins-${version}`,
    origin: goPluginVersions[version],
    package: () => 'containernetworking-plugins',
    version,
  });
  return join(directory, 'usr/lib/cni');
}

/** The path of a statically linked busybox. */
export async function staticBusybox(): Promise<string> {
  const directory = await unpacked({ name: 'busybox-static', origin: 'release', package: () => 'busybox-static' });
  const path = join(directory, 'bin/busybox');
  return (await isThere(path)) ? path : join(directory, 'usr/bin/busybox');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
