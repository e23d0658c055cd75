import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isThere, run } from './run.ts';

/*
 * apt-get with lists of its own: the machine's apt keeps its sources and its state as they are, and third-party sources
 * of the machine that cannot be reached do no harm. Signatures are verified as always, against Debian's own keys.
 */

/**
 * Where packages come from: the machine's own Debian release with its security updates; with that release's backports;
 * or unstable alone, for packages that are unpacked and never installed.
 */
export type Origin = 'release' | 'backports' | 'unstable';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Lists older than this may name files that the mirror no longer has. */
const listsLastMs = 12 * 3600 * 1000;

/** Seconds to wait for another apt or dpkg on the machine. */
const lockTimeout = 600;

export class Apt {
  readonly #options: readonly string[];
  readonly #targetRelease: readonly string[];

  private constructor(options: readonly string[], targetRelease: readonly string[]) {
    this.#options = options;
    this.#targetRelease = targetRelease;
  }

  /**
   * Gets the lists of packages where they are missing or old. The caller sees to it that no two do so at once.
   *
   * @param directory Where lists are kept, for each origin apart.
   * @throws {Error} that says what to do.
   */
  static async open(origin: Origin, directory: string): Promise<Apt> {
    const { codename } = await debianRelease();
    const home = join(directory, origin);
    await mkdir(join(home, 'cache/archives/partial'), { recursive: true });
    await mkdir(join(home, 'lists/partial'), { recursive: true });
    const sourceList = join(home, 'sources.list');
    const options = Object.entries({
      'Dir::Etc::SourceList': sourceList,
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::Etc::Preferences': '/dev/null',
      'Dir::Etc::PreferencesParts': '/dev/null',
      'Dir::State::Lists': join(home, 'lists'),
      'Dir::Cache': join(home, 'cache'),
      'Acquire::Languages': 'none',
      'Acquire::Retries': '3',
      // The downloading user of apt may be unable to reach this directory.
      'APT::Sandbox::User': 'root',
      'APT::Keep-Downloaded-Packages': 'false',
      'DPkg::Lock::Timeout': `${lockTimeout}`,
    }).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    const apt = new Apt(options, origin === 'backports' ? ['--target-release', `${codename}-backports`] : []);
    const sources = await sourcesOf(origin, codename);
    if (!(await areFresh(home, sourceList, sources))) {
      await writeFile(sourceList, sources);
      await apt.#run(['update', '--error-on=any']);
      await writeFile(join(home, 'updated'), '');
    }
    return apt;
  }

  /** Installs packages on this machine, as root and without a question. @throws {Error} what apt-get said. */
  async install(packages: readonly string[]): Promise<void> {
    await this.#run(['install', '--yes', '--no-install-recommends', ...this.#targetRelease, '--', ...packages]);
  }

  /** Which of these packages the origin has. */
  async available(packages: readonly string[]): Promise<string[]> {
    const text = (await run('apt-cache', [...this.#options, 'policy', '--', ...packages])).toString();
    return packages.filter((name) => new RegExp(`^${RegExp.escape(name)}:\\n.*\\n  Candidate: \\d`, 'm').test(text));
  }

  /**
   * Downloads one package.
   *
   * @param into A directory.
   * @returns The path of the .deb and its version.
   * @throws {Error} what apt-get said.
   */
  async download(name: string, into: string): Promise<{ readonly file: string; readonly version: string }> {
    await this.#run(['download', '--', name], into);
    const found = (await readdir(into)).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'));
    if (found === undefined) throw new Error(`apt-get download ${name} left no file in ${into}`);
    const file = join(into, found);
    const version = await run('dpkg-deb', ['--field', file, 'Version']);
    return { file, version: version.toString().trim() };
  }

  /** The package that an empty one, such as linux-image-amd64, stands for. @throws {Error} where it stands for none. */
  async dependencyOf(name: string): Promise<string> {
    const text = await run('apt-cache', [...this.#options, 'depends', '--important', '--', name]);
    const [, dependency] = text.toString().match(/^\s+Depends: (\S+)$/m) ?? [];
    if (dependency === undefined) throw new Error(`${name} depends on no package: ${text}`);
    return dependency;
  }

  async #run(args: readonly string[], cwd = '/'): Promise<void> {
    const env = { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
    await run('apt-get', ['--quiet=2', ...this.#options, ...args], { cwd, env });
  }
}

async function areFresh(home: string, sourceList: string, sources: string): Promise<boolean> {
  const before = await readFile(sourceList, 'utf8').catch(() => undefined);
  const updated = await stat(join(home, 'updated')).catch(() => undefined);
  return before === sources && updated !== undefined && Date.now() - updated.mtimeMs < listsLastMs;
}

/** os-release(5). @throws {Error} where this is not Debian. */
export async function debianRelease(): Promise<{ readonly version: string; readonly codename: string }> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const fields = new Map(
    [...text.matchAll(/^([A-Z_]+)=(?:"(.*)"|(.*))$/gm)].map(([, key, quoted, bare]) => [key, quoted ?? bare ?? '']),
  );
  const codename = fields.get('VERSION_CODENAME');
  if (fields.get('ID') !== 'debian' || codename === undefined) {
    const found = fields.get('PRETTY_NAME') ?? 'no such line';
    throw new Error(`this needs a Debian machine to get packages; /etc/os-release says: ${found}`);
  }
  return { version: fields.get('VERSION_ID') ?? '', codename };
}

interface MachineSource {
  readonly uri: string;
  readonly suite: string;
}

/** The lines of sources.list(5) for an origin, on the mirror that the machine's own sources name. */
async function sourcesOf(origin: Origin, codename: string): Promise<string> {
  if (!(await isThere(keyring))) throw new Error(`${keyring} is missing: apt-get install debian-archive-keyring`);
  const machine = await machineSources(codename);
  const mirror = machine.find(({ suite }) => suite === codename)?.uri;
  if (mirror === undefined) {
    throw new Error(
      `no apt source of this machine offers ${codename} main: add Debian's archive to /etc/apt/sources.list.d, with the suite called ${codename}`,
    );
  }
  const sources = {
    release: machine,
    backports: [...machine, { uri: mirror, suite: `${codename}-backports` }],
    unstable: [{ uri: mirror, suite: 'sid' }],
  }[origin];
  return sources.map(({ uri, suite }) => `deb [target=Packages signed-by=${keyring}] ${uri} ${suite} main\n`).join('');
}

/** The machine's sources of its own release, updates and security updates included. */
async function machineSources(codename: string): Promise<MachineSource[]> {
  const suites = [codename, `${codename}-updates`, `${codename}-security`];
  const format = '$(REPO_URI) $(RELEASE) $(COMPONENT)';
  const targets = await run('apt-get', [
    'indextargets',
    '--no-release-info',
    '--format',
    format,
    'Created-By: Packages',
  ]);
  const lines = new Set(targets.toString().trim().split('\n'));
  return [...lines].flatMap((line) => {
    const [uri = '', suite = '', component] = line.split(' ');
    return component === 'main' && suites.includes(suite) ? [{ uri, suite }] : [];
  });
}
