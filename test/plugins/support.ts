import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseArgs } from '../../src/cni/args.ts';
import { encodeResult } from '../../src/cni/convert.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../src/cni/json.ts';
import type { Attachment, PluginConfig } from '../../src/cni/plugin.ts';
import type { Result } from '../../src/cni/result.ts';
import { Runner } from '../../src/cni/runner.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';

const run = promisify(execFile);

/** Runs built-in plugins as a chain does, in their newest version unless told. */
export const runner = new Runner({ builtin: builtinPlugins });

export const config = (type: string, keys: JsonObject): PluginConfig => ({
  cniVersion: '1.1.0',
  name: 'test-net',
  ...keys,
  type,
});

export const attachment = (netns: string, { containerId = 'c1', ifName = 'net1', args = '' } = {}): Attachment => ({
  containerId,
  netns,
  ifName,
  args: parseArgs(args),
  path: [],
});

/** The configuration that CHECK and DEL are given after an ADD. */
export const withResult = (config: PluginConfig, result: Result): PluginConfig => ({
  ...config,
  prevResult: encodeResult(result, config.cniVersion),
});

/** Where host-local of a test keeps its files. */
export interface Addresses extends AsyncDisposable {
  readonly ipam: JsonObject;
  /** The addresses that are reserved in the network of {@link config}. */
  reserved(): Promise<string[]>;
}

export async function hostLocalAddresses(keys: JsonObject = { subnet: '10.1.2.0/24' }): Promise<Addresses> {
  const dataDir = await mkdtemp(join(tmpdir(), 'plx-test-'));
  return {
    ipam: { type: 'host-local', dataDir, ...keys },
    async reserved() {
      const names = await readdir(join(dataDir, 'test-net')).catch(() => []);
      return names.filter((name) => /^[0-9a-f:]+[.:]/.test(name)).sort();
    },
    async [Symbol.asyncDispose]() {
      await rm(dataDir, { recursive: true });
    },
  };
}

/** What ip(8) says inside a namespace, as JSON; of the node without one. */
export async function ip(netns: string | undefined, ...words: readonly string[]): Promise<JsonObject[]> {
  const enter = netns === undefined ? [] : [`--net=${netns}`];
  const { stdout } = await run('nsenter', [...enter, 'ip', '-j', '-d', ...words]);
  const json: unknown = JSON.parse(stdout || '[]');
  return isJsonArray(json) ? json.filter(isJsonObject) : [];
}

/**
 * The interfaces, addresses and routes of a namespace, to be compared before and after: without what changes by itself,
 * such as states, timers and all that is link-local.
 *
 * @param netns The node's without one.
 */
export async function stateOf(netns: string | undefined): Promise<string[]> {
  const interfaces = await ip(netns, 'address');
  const routes = [...(await ip(netns, 'route')), ...(await ip(netns, '-6', 'route'))];
  return [
    ...interfaces.flatMap(({ ifname, address, mtu, addr_info }) => [
      `interface ${ifname} ${address} mtu ${mtu}`,
      ...addressesOf(addr_info).map((each) => `address ${each} on ${ifname}`),
    ]),
    ...routes
      .filter(({ dst }) => !/^(fe80|ff00|multicast)/.test(`${dst}`))
      .map(
        ({ dst, gateway = 'link', dev, scope, prefsrc = 'any' }) =>
          `route ${dst} via ${gateway} ${dev} ${scope} ${prefsrc}`,
      ),
  ];
}

function addressesOf(info: JsonValue | undefined): string[] {
  const all = isJsonArray(info) ? info.filter(isJsonObject) : [];
  return all.filter(({ scope }) => scope !== 'link').map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}
