import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions, compareVersions } from '../cni/version.ts';
import { addresses } from '../linux/address.ts';
import { removeFile } from '../linux/atomic-file.ts';
import { CommandError } from '../linux/command.ts';
import { isFirewalldRunning } from '../linux/firewalld.ts';
import { lacksIptables } from '../linux/iptables.ts';
import { links } from '../linux/link.ts';
import { lacksNftables } from '../linux/nftables.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { formatIP, type IP, parsePrefix } from '../net/ip.ts';
import { Container } from './container-interface.ts';
import { type Claim, claim, digestsOf, listClaims, type Means, meansOf } from './firewall/claims.ts';
import { addFirewalld, checkFirewalld, removeFirewalld } from './firewall/firewalld.ts';
import { addIptables, checkIptables, ownChains, removeIptables, removeIptablesPolicies } from './firewall/iptables.ts';
import {
  addNftables,
  chainName,
  checkNftables,
  parseChain,
  removeNftables,
  removeNftablesPolicies,
} from './firewall/nftables.ts';
import { isolatePorts, policyOf, type Wanted } from './firewall/policy.ts';
import type { Owner } from './masquerade/identity.ts';
import { readValidAttachments } from './valid-attachments.ts';

/** Empty: firewalld where it runs, else iptables; where the node has none, nftables. */
const backend = z
  .enum(['', 'iptables', 'firewalld', 'nftables'], 'expected iptables, firewalld or nftables')
  .default('');

/** What iptables leads to otherwise (xtables targets), and chains that are not the administrator's. */
const reserved = ['ACCEPT', 'DROP', 'QUEUE', 'RETURN', 'INPUT', 'FORWARD', 'OUTPUT', ...ownChains];

const adminChain = z
  .string()
  .regex(
    /^(|[A-Za-z0-9_][A-Za-z0-9_.-]{0,27})$/,
    'expected the name of a chain, up to 28 letters, digits, "-", "_" and "."',
  )
  .refine((name) => !reserved.includes(name), 'expected a chain of its own')
  .transform((name) => name || 'CNI-ADMIN')
  .default('CNI-ADMIN');

const zone = z
  .string()
  .max(64)
  .transform((name) => name || 'trusted')
  .default('trusted');

const dataDir = z
  .string()
  .regex(/^(\/.*)?$/, 'expected an absolute path')
  .transform((path) => path || '/run/cni/firewall')
  .default('/run/cni/firewall');

const schema = z.object({
  backend,
  iptablesAdminChainName: adminChain,
  firewalldZone: zone,
  nftablesChain: chainName,
  ingressPolicy: z
    .enum(['', 'open', 'same-bridge', 'isolated'], 'expected open, same-bridge or isolated')
    .default('open'),
  dataDir,
});

type Settings = z.output<typeof schema>;

/** All that DEL and GC need: what is wrong with a configuration must not keep them from taking anything back. */
const deleteSchema = z.object({
  backend: backend.catch(''),
  firewalldZone: zone.catch('trusted'),
  nftablesChain: chainName.catch(''),
  dataDir,
});

type DeleteSettings = z.output<typeof deleteSchema>;

/**
 * Lets what pods send, and the answers to it, through the node's firewall; and keeps the pods of a bridge from those of
 * others, by `ingressPolicy`.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists. Policies are rules of
 * a bridge, and stay as it does: GC removes those of bridges that are gone.
 */
export const firewall: Plugin = {
  type: 'firewall',
  versions: cniVersions.filter((version) => compareVersions(version, '0.4.0') >= 0),

  validate({ config }) {
    parsePluginConfig(schema, config);
  },

  async add(call) {
    const settings = parsePluginConfig(schema, call.config);
    const prevResult = requirePrevResult(call);
    const wanted = wantedOf(settings, prevResult);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => release(settings, call, []));
    if (wanted.policy !== undefined) await isolatePorts(undo, wanted.policy, prevResult);
    await addByFirst(await backendsOf(settings), wanted, settings, call);
    undo.move();
    return prevResult;
  },

  async delete(call) {
    await release(parsePluginConfig(deleteSchema, call.config), call, await addressesOf(call));
  },

  async check(call) {
    const settings = parsePluginConfig(schema, call.config);
    const wanted = wantedOf(settings, requirePrevResult(call));
    const own = (await listClaims(settings.dataDir)).find(isOf(ownerOf(call)));
    const { backend } = (own && (await meansOf(own))) ?? { backend: (await backendsOf(settings))[0] };
    if (backend === 'nftables') return checkNftables(wanted, parseChain(settings.nftablesChain));
    if (backend === 'firewalld') await checkFirewalld(wanted.addresses, settings.firewalldZone);
    await checkIptables(wanted, backend === 'iptables' ? settings.iptablesAdminChainName : undefined);
  },

  async gc({ config }) {
    const settings = parsePluginConfig(deleteSchema, config);
    const kept = readValidAttachments(config).map((each) => digestsOf({ network: config.name, ...each }).attachment);
    const { network } = digestsOf({ network: config.name, containerId: '', ifName: '' });
    const all = await listClaims(settings.dataDir);
    await releaseClaims(settings, all, (each) => each.network === network && !kept.includes(each.attachment));
    using node = Rtnetlink.open();
    const [present] = await node.run(links.list());
    const names = new Set(present.map(({ name }) => name));
    await removeIptablesPolicies((name) => names.has(name));
    await removeNftablesPolicies((name) => names.has(name));
  },
};

function requirePrevResult({ config, prevResult }: PluginCall): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    'missing prevResult from earlier plugin',
    `network "${config.name}": firewall lets through the addresses of a plugin before it: put it after one in a conflist`,
  );
}

const wantedOf = ({ ingressPolicy }: Settings, prevResult: Result): Wanted => ({
  addresses: prevResult.ips.map(({ address }) => parsePrefix(address).ip),
  policy: policyOf(ingressPolicy, prevResult),
});

const ownerOf = ({ config, attachment: { containerId, ifName } }: PluginCall): Owner => ({
  network: config.name,
  containerId,
  ifName,
});

function isOf(owner: Owner): (claim: Claim) => boolean {
  const { network, attachment } = digestsOf(owner);
  return (each) => each.network === network && each.attachment === attachment;
}

type Backend = Means['backend'];

/** Those to try, one after the other, where a node lacks one. */
async function backendsOf({ backend }: Pick<Settings, 'backend'>): Promise<readonly [Backend, ...Backend[]]> {
  if (backend !== '') return [backend];
  return (await isFirewalldRunning()) ? ['firewalld'] : ['iptables', 'nftables'];
}

/** The claim is there before the rules are, so that none is without one whenever this ends. */
async function addByFirst(
  [backend, ...others]: readonly [Backend, ...Backend[]],
  wanted: Wanted,
  settings: Settings,
  call: PluginCall,
): Promise<void> {
  const { dataDir, firewalldZone: zone, nftablesChain: chain } = settings;
  await claim(dataDir, ownerOf(call), wanted.addresses, { backend, zone, chain });
  try {
    await addBy(backend, wanted, settings);
  } catch (error) {
    const [next, ...rest] = others;
    if (next !== undefined && lacksIptables(error)) return addByFirst([next, ...rest], wanted, settings, call);
    if (!(error instanceof CommandError)) throw error;
    throw new CniError(
      ErrorCode.Internal,
      `network "${call.config.name}": firewall: ${error.message}`,
      lacksIptables(error) || lacksNftables(error)
        ? 'the node must have the backend of the configuration'
        : error.stderr,
      { cause: error },
    );
  }
}

async function addBy(backend: Backend, wanted: Wanted, settings: Settings): Promise<void> {
  const { iptablesAdminChainName, firewalldZone, nftablesChain } = settings;
  if (backend === 'nftables') return addNftables(wanted, parseChain(nftablesChain));
  if (backend === 'iptables') return addIptables(wanted, iptablesAdminChainName);
  await addFirewalld(wanted.addresses, firewalldZone);
  // Policies are rules of iptables there, too.
  if (wanted.policy !== undefined) await addIptables(wanted, undefined);
}

/** The addresses that a DEL is about, where no claim says: those of the result, else those that the interface has. */
async function addressesOf({ attachment, prevResult }: PluginCall): Promise<readonly IP[]> {
  if (prevResult !== undefined) return prevResult.ips.map(({ address }) => parsePrefix(address).ip);
  using container = Container.openIfAny(attachment);
  if (container === undefined) return [];
  const [found] = await container.netlink.settle(links.get({ name: attachment.ifName }));
  if (found?.ok !== true) return [];
  const [present] = await container.netlink.run(addresses.list({ index: found.value.index }));
  return present.map(({ address }) => address.ip);
}

/** Takes back what an attachment has claimed, and these addresses, unless another has them by now. */
async function release(settings: DeleteSettings, call: PluginCall, others: readonly IP[]): Promise<void> {
  const all = await listClaims(settings.dataDir);
  const claimed = new Set(all.map(({ address }) => formatIP(address)));
  const unclaimed = others.filter((ip) => !claimed.has(formatIP(ip)));
  const { backend, firewalldZone, nftablesChain } = settings;
  // It may be that another plugin let them through: whichever backend it found then.
  if (backend !== 'firewalld') await removeIptables(unclaimed);
  if (backend !== 'iptables') await removeFirewalld(unclaimed, firewalldZone);
  if (backend === 'nftables') await removeNftables(unclaimed, parseChain(nftablesChain));
  await releaseClaims(settings, all, isOf(ownerOf(call)));
}

/** An address that another network has as well stays let through. Claims go last. */
async function releaseClaims(
  settings: DeleteSettings,
  all: readonly Claim[],
  isToGo: (claim: Claim) => boolean,
): Promise<void> {
  const staying = new Set(all.filter((each) => !isToGo(each)).map(({ address }) => formatIP(address)));
  const going = all.filter(isToGo);
  const known = await Promise.all(going.map(async (each) => ({ ...each, by: await meansOf(each) })));
  const toRemove = known.filter(({ address }) => !staying.has(formatIP(address)));
  for (const alike of Map.groupBy(toRemove, ({ by }) => JSON.stringify(by)).values()) {
    await removeBy(
      settings,
      alike[0]?.by,
      alike.map(({ address }) => address),
    );
  }
  for (const { path } of going) await removeFile(path);
}

async function removeBy(settings: DeleteSettings, by: Means | undefined, ips: readonly IP[]): Promise<void> {
  const { backend, zone, chain } = by ?? {
    backend: settings.backend,
    zone: settings.firewalldZone,
    chain: settings.nftablesChain,
  };
  if (backend === 'iptables' || backend === '') await removeIptables(ips);
  if (backend === 'firewalld' || backend === '') await removeFirewalld(ips, zone);
  if (backend === 'nftables') await removeNftables(ips, parseChain(chain));
}
