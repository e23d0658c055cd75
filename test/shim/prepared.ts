import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodePrepared, type Prepared } from '../../src/daemon/spool/prepared.ts';

/**
 * Puts a plugin into a directory: a script that notes its input and its CNI_* environment, and does what is said then.
 *
 * @param body Lines of sh(1); $command is CNI_COMMAND, `$notes` the file that is noted in.
 */
export async function scriptPlugin(directory: string, name: string, body: string): Promise<string> {
  const path = join(directory, name);
  const notes = `${path}.notes`;
  const script = [
    '#!/bin/sh',
    'command="$CNI_COMMAND"',
    `notes='${notes}'`,
    'printf "%s %s " "$command" "$CNI_PATH" >> "$notes"',
    'cat >> "$notes"',
    'echo >> "$notes"',
    body,
  ];
  await writeFile(path, `${script.join('\n')}\n`);
  await chmod(path, 0o755);
  return path;
}

/** What a plugin was called with. */
export async function notesOf(plugin: string): Promise<{ command: string; path: string; config: unknown }[]> {
  const text = await readFile(`${plugin}.notes`, 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, command = '', path = '', config = ''] = /^(\S+) (\S*) (.*)$/.exec(line) ?? [];
      return { command, path, config: JSON.parse(config) };
    });
}

/** Writes what the daemon prepares. */
export async function prepare(spool: string, plugins: Prepared['plugins'], change: Partial<Prepared> = {}) {
  await mkdir(spool, { recursive: true, mode: 0o700 });
  const prepared: Prepared = {
    cniVersion: '1.0.0',
    readinessFile: '',
    directories: ['/prepared/bin'],
    network: { config: '{"name":"main","type":"first"}', source: 'a test', defaultName: 'main' },
    hasPrevResult: true,
    plugins,
    ...change,
  };
  await writeFile(join(spool, 'default-network'), encodePrepared(prepared), { mode: 0o600 });
}
