import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { cniVersions } from '../cni/version.ts';
import { CommandError } from '../linux/command.ts';
import { forgetConnections } from '../linux/conntrack.ts';
import { isKernelError } from '../linux/errors.ts';
import { lacksIptables } from '../linux/iptables.ts';
import { links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { lacksNftables } from '../linux/nftables.ts';
import { routes } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../linux/sysctl.ts';
import { type IP, type Prefix, parsePrefix } from '../net/ip.ts';
import { both } from './masquerade/both.ts';
import type { Owner } from './masquerade/identity.ts';
import { type Backend, boundTo, mappingsOf, type PortmapConfig, parsePortmap } from './portmap/config.ts';
import { addIptables, checkIptables, gcIptables, removeIptables } from './portmap/iptables.ts';
import { addNftables, checkNftables, gcNftables, removeNftables } from './portmap/nftables.ts';
import { readValidAttachments } from './valid-attachments.ts';

/**
 * Ports of the node that lead to the container: what runtimeConfig.portMappings asks for, which is what `hostPort` of a pod
 * becomes. Nothing is reserved; of two containers that ask for one port, the one that came last has it.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists: an ADD again leaves
 * one set of rules, conditions are about one container, and what is removed is what the attachment had.
 */
export const portmap: Plugin = {
  type: 'portmap',
  versions: cniVersions,

  validate({ config }) {
    parsePortmap(config);
  },

  async add(call) {
    const config = parsePortmap(call.config);
    const prevResult = requirePrevResult(call, 'must be called as chained plugin');
    const addresses = addressesOf(prevResult, call.attachment.ifName);
    if (config.mappings.length === 0 || addresses.length === 0) return prevResult;

    const owner = ownerOf(call);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => remove(owner, ipsOf(addresses)));
    await byBackend(call, config, {
      iptables: () => addIptables(owner, addresses, config),
      nftables: () => addNftables(owner, addresses, config),
    });
    // Packets of a connection that is known go where its first one went, which may be a container that is gone.
    await forgetConnections(addresses.flatMap(({ ip }) => udpPorts(config, ip.family)));
    if (config.snat) for (const { ip } of addresses) if (ip.family === 4) await routeLocalnet(ip);
    undo.move();
    return prevResult;
  },

  async delete(call) {
    if (!mayHaveMappings(call)) return;
    const addresses = call.prevResult && addressesOf(call.prevResult, call.attachment.ifName);
    await remove(ownerOf(call), addresses === undefined || addresses.length === 0 ? undefined : ipsOf(addresses));
  },

  async check(call) {
    const config = parsePortmap(call.config);
    const addresses = addressesOf(requirePrevResult(call, 'Required prevResult missing'), call.attachment.ifName);
    if (config.mappings.length === 0 || addresses.length === 0) return;
    const owner = ownerOf(call);
    await byBackend(call, config, {
      iptables: () => checkIptables(owner, addresses, config),
      nftables: () => checkNftables(owner, addresses, config),
    });
  },

  async gc({ config }) {
    const valid = readValidAttachments(config).map((attachment) => ({ network: config.name, ...attachment }));
    await byBoth(
      () => gcIptables(config.name, valid),
      () => gcNftables(config.name, valid),
    );
  },
};

function requirePrevResult({ prevResult }: PluginCall, message: string): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(ErrorCode.InvalidNetworkConfig, message);
}

/** The first address of each family that the interface has, or that no interface is said to have. */
function addressesOf({ ips, interfaces }: Result, ifName: string): readonly Prefix[] {
  const own = ips.flatMap(({ address, interface: place }) => {
    const found = place === undefined ? undefined : interfaces[place];
    const isOwn = found === undefined || (found.name === ifName && (found.sandbox ?? '') !== '');
    return isOwn ? [parsePrefix(address)] : [];
  });
  return [4, 6].flatMap((family) => own.find(({ ip }) => ip.family === family) ?? []);
}

const ipsOf = (addresses: readonly Prefix[]): readonly IP[] => addresses.map(({ ip }) => ip);

const ownerOf = ({ config, attachment: { containerId, ifName } }: PluginCall): Owner => ({
  network: config.name,
  containerId,
  ifName,
});

/** A DEL is given the mappings of the ADD; most pods have none. What cannot be read may have been right at ADD. */
function mayHaveMappings({ config }: PluginCall): boolean {
  try {
    return parsePortmap(config).mappings.length > 0;
  } catch {
    return true;
  }
}

/** Does something by the first backend that the node has, of those that the configuration leaves open. */
async function byBackend(
  { config: { name } }: PluginCall,
  { backends }: PortmapConfig,
  works: Readonly<Record<Backend, () => Promise<void>>>,
): Promise<void> {
  for (const [index, backend] of backends.entries()) {
    try {
      return await works[backend]();
    } catch (error) {
      const isLacking = backend === 'iptables' ? lacksIptables(error) : lacksNftables(error);
      if (isLacking && index < backends.length - 1) continue;
      if (!(error instanceof CommandError)) throw error;
      throw new CniError(
        ErrorCode.Internal,
        `network "${name}": port mappings by ${backend}: ${error.message}`,
        isLacking ? `port mappings need ${backends.join(' or ')} on the node` : error.stderr,
        { cause: error },
      );
    }
  }
}

/** By both backends, whichever has been taken. */
function remove(owner: Owner, addresses: readonly IP[] | undefined): Promise<void> {
  return byBoth(
    () => removeIptables(owner, addresses),
    () => removeNftables(owner, addresses),
  );
}

/** What a node has no program for has left no rules there. */
function byBoth(iptables: () => Promise<void>, nftables: () => Promise<void>): Promise<void> {
  return both(
    () => iptables().catch(unless(lacksIptables)),
    () => nftables().catch(unless(lacksNftables)),
  );
}

const unless =
  (isLacking: (error: unknown) => boolean) =>
  (error: unknown): void => {
    if (!isLacking(error)) throw error;
  };

function udpPorts({ mappings }: PortmapConfig, family: 4 | 6) {
  return mappingsOf(mappings, family).flatMap((mapping) => {
    const { protocol, hostPort, hostIP } = mapping;
    const ip = boundTo(mapping) === undefined ? undefined : hostIP;
    return protocol === 'udp' ? [{ family, protocol, port: hostPort, ip } as const] : [];
  });
}

/**
 * Lets packets from 127.0.0.1 leave by the interface that leads to the container (ip-sysctl.txt), where they are given the
 * node's address. It stays so: other containers may rely on it.
 */
async function routeLocalnet(ip: IP): Promise<void> {
  using node = Rtnetlink.open();
  try {
    const [index] = await node.run(routes.interfaceTowards(ip));
    if (index === undefined) return;
    const [{ name }] = await node.run(links.get({ index }));
    const sysctl = ['ipv4', 'conf', name, 'route_localnet'] as const;
    if ((await readSysctl(NetworkNamespace.host(), ...sysctl)) === '1') return;
    await writeSysctl(NetworkNamespace.host(), 1, ...sysctl);
  } catch (error) {
    // A container that the node has no way to is not reached from it.
    if (isKernelError(error, 'ENETUNREACH', 'EHOSTUNREACH')) return;
    if (isKernelError(error)) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new CniError(ErrorCode.Internal, `unable to enable route_localnet: ${reason}`, '', { cause: error });
  }
}
