import { access, constants, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { auxiliaryChain } from '../../attach/auxiliary-chain.ts';
import { findDefaultNetwork, findNamedNetworks, type NetworkSource } from '../../attach/default-network.ts';
import { metaPlugins } from '../../attach/network-file.ts';
import { parseSettings, type Settings } from '../../attach/settings.ts';
import { parseNetworkConfig } from '../../cni/config.ts';
import { findPlugin } from '../../cni/exec.ts';
import { splitPath } from '../../cni/invocation.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import { type Finding, fine, lacking, messageOf } from './finding.ts';
import type { UsedNetwork } from './networks.ts';

/** How the container runtime comes to call Plexus. */
export interface Runtime {
  readonly findings: readonly Finding[];
  /** The configuration that the runtime sends; undefined where there is none. */
  readonly config: JsonObject | undefined;
  /** It, overlaid by the daemon's. Undefined where it is wrong. */
  readonly settings: Settings | undefined;
}

const example = '{"cniVersion":"1.1.0","name":"plexus","type":"plexus","clusterNetwork":"..."}';

export async function checkRuntime({ overlay, binDir }: DaemonConfig): Promise<Runtime> {
  const directory = textOr(overlay['cniConfigDir'], '/etc/cni/net.d');
  const { findings, config, source } = await findOwn(directory);
  if (config !== undefined) {
    findings.push(
      await checkBinary(textOr(config['type'], 'plexus'), textOr(overlay['binDir'], textOr(config['binDir'], binDir))),
    );
  }
  try {
    return {
      findings,
      config,
      settings: parseSettings({ ...config, ...overlay }, source),
    };
  } catch (error) {
    const remedy = 'set it in the CNI configuration, or in that of the daemon';
    findings.push(lacking('configuration', messageOf(error), remedy));
    return { findings, config, settings: undefined };
  }
}

/** Runtimes take the first file of the directory, by name. */
async function findOwn(
  directory: string,
): Promise<{ findings: Finding[]; config: JsonObject | undefined; source: string }> {
  const findings: Finding[] = [];
  const names = (await readdir(directory).catch(() => []))
    .filter((name) => /\.(conf|conflist|json)$/.test(name))
    .sort();
  const broken: string[] = [];
  for (const [index, name] of names.entries()) {
    const file = join(directory, name);
    try {
      const config = ownPlugin(parseJson(await readFile(file, 'utf8'), file), file);
      if (config === undefined) continue;
      const earlier = names.slice(0, index).filter((each) => !broken.includes(each));
      findings.push(
        earlier.length === 0
          ? fine('configuration', file)
          : lacking(
              'configuration',
              `${earlier[0]} comes before ${name} in ${directory}`,
              'rename the one or the other: runtimes take the first',
            ),
      );
      return { findings, config, source: file };
    } catch (error) {
      broken.push(name);
      findings.push(lacking('configuration', messageOf(error), 'correct or remove it'));
    }
  }
  const wanted = `no file of ${directory} has a plugin of type ${[...metaPlugins].join(', ')}: the runtime does not call Plexus`;
  findings.push(lacking('configuration', wanted, `write 00-plexus.conf there: ${example}`));
  return { findings, config: undefined, source: "the daemon's configuration" };
}

/** The meta-plugin's own configuration in a file, with what it has from a list around it. */
function ownPlugin(json: JsonValue, file: string): JsonObject | undefined {
  if (!isJsonObject(json)) throw new Error(`${file}: expected a JSON object`);
  const { plugins, cniVersion, name } = json;
  const listed = isJsonArray(plugins) ? plugins : [json];
  const own = listed.find((plugin) => isJsonObject(plugin) && metaPlugins.has(plugin['type']));
  return isJsonObject(own) ? { cniVersion, name, ...own } : undefined;
}

async function checkBinary(type: string, binDir: string): Promise<Finding> {
  try {
    const file = await findPlugin(type, splitPath(binDir));
    await access(file, constants.X_OK);
    return fine('binary', file);
  } catch (error) {
    return lacking('binary', messageOf(error), `copy build/plexus there, as ${type}`);
  }
}

/** The network that every pod gets first. */
export async function checkDefaultNetwork(
  settings: Settings,
  cluster: Cluster | undefined,
): Promise<{ readonly finding: Finding; readonly network: UsedNetwork | undefined }> {
  try {
    const found = await findDefaultNetwork(settings, cluster);
    const list = parseNetworkConfig(found.config, found.source, { defaultName: found.name });
    return { finding: fine('default network', `${list.name}, ${found.source}`), network: { name: list.name, list } };
  } catch (error) {
    const remedy = 'install the default network, or correct clusterNetwork: no pod can start';
    return { finding: lacking('default network', messageOf(error), remedy), network: undefined };
  }
}

/** Each of the networks that pods get next without asking. */
export async function checkNamedNetworks(
  settings: Settings,
  cluster: Cluster | undefined,
): Promise<{ readonly findings: readonly Finding[]; readonly networks: readonly UsedNetwork[] }> {
  const findings: Finding[] = [];
  const networks: UsedNetwork[] = [];
  const check = async (what: string, looked: Promise<readonly NetworkSource[]>, remedy: string): Promise<void> => {
    try {
      for (const { config, source, name } of await looked) {
        const list = parseNetworkConfig(config, source, { defaultName: name });
        findings.push(fine(what, `${list.name}, ${source}`));
        networks.push({ name: list.name, list });
      }
    } catch (error) {
      findings.push(lacking(what, messageOf(error), remedy));
    }
  };
  const named = findNamedNetworks(settings, cluster).map(async (found) => [await found]);
  // Each is told of in its turn, and none may be left unheard meanwhile.
  await Promise.allSettled(named);
  for (const [index, found] of named.entries()) {
    const what = `defaultNetworks[${index}]`;
    await check(what, found, `install that network, or correct ${what}: no pod outside of systemNamespaces can start`);
  }
  await check('auxiliary chain', auxiliaryChain(settings), 'correct that file, or remove it: no pod can start');
  return { findings, networks };
}

const textOr = (value: unknown, otherwise: string): string =>
  typeof value === 'string' && value !== '' ? value : otherwise;
