import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jumboMtu } from '../vpc.ts';

export interface InstallOptions {
  /** The CNI directory for executables. */
  readonly binDir: string;
  /** The CNI directory for configurations. */
  readonly confDir: string;
  /** Directory in which the addresses that are given out are noted. */
  readonly dataDir: string;
}

/**
 * Puts the executable and its configuration where the VPC CNI's installer does. The plugins that Amazon chains behind it,
 * egress-cni and portmap, are left out: the one passes its input through unless told, the other has no ports to map here.
 */
export async function installAwsCni({ binDir, confDir, dataDir }: InstallOptions): Promise<void> {
  const main = join(import.meta.dirname, 'main.ts');
  // Compiled once, it starts in a third of the time.
  const compiled = join(import.meta.dirname, '../../../node_modules/.cache/plexus');
  const command = [process.execPath, main, dataDir].map(quoted).join(' ');
  // And it ends with the daemon, lest it go on writing where all else has ended.
  const script = `#!/bin/sh\nexport NODE_COMPILE_CACHE=${quoted(compiled)}\nexec setpriv --pdeathsig KILL -- ${command}\n`;
  await writeFile(join(binDir, 'aws-cni'), script, { mode: 0o755 });
  await writeFile(join(confDir, '10-aws.conflist'), `${JSON.stringify(awsCniConflist, undefined, 2)}\n`);
}

/** What Amazon's installer writes, but for what it chains behind. */
export const awsCniConflist = {
  cniVersion: '0.4.0',
  name: 'aws-cni',
  disableCheck: true,
  plugins: [
    {
      name: 'aws-cni',
      type: 'aws-cni',
      vethPrefix: 'eni',
      mtu: String(jumboMtu),
      podSGEnforcingMode: 'strict',
      pluginLogFile: '/var/log/aws-routed-eni/plugin.log',
      pluginLogLevel: 'DEBUG',
      capabilities: { 'io.kubernetes.cri.pod-annotations': true },
    },
  ],
};

/** A word of a shell's command line (POSIX, 2.2.2 Single-Quotes). */
const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
