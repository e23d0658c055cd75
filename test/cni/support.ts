import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CniError } from '../../src/cni/error.ts';
import type { Attachment, Plugin, PluginCall, PluginConfig } from '../../src/cni/plugin.ts';
import { emptyResult, type Result } from '../../src/cni/result.ts';
import { cniVersions } from '../../src/cni/version.ts';

export const attachment: Attachment = {
  containerId: 'c1',
  netns: '/run/netns/plx-c1',
  ifName: 'net1',
  args: new Map(),
  path: [],
};

export const netConfig = (rest: Record<string, unknown> = {}): PluginConfig =>
  JSON.parse(JSON.stringify({ cniVersion: '1.1.0', name: 'n1', type: 'fake', ...rest }));

/** A plugin that writes down how it was called, and does as told. */
export interface FakePlugin extends Plugin {
  readonly calls: string[];
  readonly configs: PluginConfig[];
}

export interface FakeBehaviour {
  readonly type?: string;
  readonly versions?: readonly string[];
  readonly result?: Result | ((call: PluginCall) => Result);
  /** Commands that fail, and with what. */
  readonly fails?: Readonly<Record<string, Error>>;
  /** Shared by the plugins of a chain, so that the order of calls can be seen. */
  readonly calls?: string[];
}

export function fakePlugin(behaviour: FakeBehaviour = {}): FakePlugin {
  const { type = 'fake', versions = cniVersions, result = emptyResult, fails = {}, calls = [] } = behaviour;
  const configs: PluginConfig[] = [];
  const called = (command: string, config: PluginConfig): void => {
    calls.push(`${command} ${type}`);
    configs.push(config);
    const failure = fails[command];
    if (failure !== undefined) throw failure;
  };
  return {
    type,
    versions,
    calls,
    configs,
    async add(call) {
      called('ADD', call.config);
      return typeof result === 'function' ? result(call) : result;
    },
    async delete(call) {
      called('DEL', call.config);
    },
    async check(call) {
      called('CHECK', call.config);
    },
    async status(call) {
      called('STATUS', call.config);
    },
    async gc(call) {
      called('GC', call.config);
    },
  };
}

/** A directory of our own, and executables in it. */
export async function binDirectory(scripts: Readonly<Record<string, string>> = {}): Promise<BinDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'plx-bin-'));
  const write = async (name: string, script: string): Promise<string> => {
    const file = join(path, name);
    await writeFile(file, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
    return file;
  };
  for (const [name, script] of Object.entries(scripts)) await write(name, script);
  return { path, write, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface BinDirectory extends AsyncDisposable {
  readonly path: string;
  write(name: string, script: string): Promise<string>;
}

/** What a call throws, as [code, message, details]. */
export function thrownBy(call: () => unknown): readonly [number, string, string] {
  try {
    call();
  } catch (thrown) {
    return described(thrown);
  }
  throw new Error('expected an error');
}

export async function rejectedBy(promise: Promise<unknown>): Promise<readonly [number, string, string]> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => ({ thrown }),
  );
  if (outcome === undefined) throw new Error('expected an error');
  return described(outcome.thrown);
}

function described(thrown: unknown): readonly [number, string, string] {
  if (thrown instanceof CniError) return [thrown.code, thrown.message, thrown.details];
  throw thrown;
}
