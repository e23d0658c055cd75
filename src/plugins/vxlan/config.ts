import { z } from 'zod';
import { requireKnownArgs } from '../../cni/args.ts';
import type { PluginCall } from '../../cni/plugin.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { hostPrefix, type IP, parseIP, parsePrefix } from '../../net/ip.ts';
import { interfacePluginKeys } from '../ipam.ts';
import { address, optional, textOf } from '../ipam-schema.ts';
import { macAddress, macArgument } from '../mac-address.ts';

/** The port that IANA gave to it (RFC 7348, section 8). The kernel's own default is the one from before. */
const defaultPort = 4789;

const expectedVni = 'expected a VXLAN network identifier from 0 to 16777215';
const expectedPort = 'expected a UDP port from 1 to 65535';
const expectedTtl = "expected a number from 0 to 255, where 0 is the kernel's choice";

/** An address of the node, or what the node's address is in: the same on every node. */
const ownAddress = textOf(
  (text) => (text.includes('/') ? parsePrefix(text) : hostPrefix(parseIP(text))),
  'an address of the node, such as 10.0.0.5, or a prefix that the node has one in, such as 10.0.0.0/24',
);

/** The 24 bits of RFC 7348, section 5. */
const vni = z.int(expectedVni).min(0, expectedVni).max(0xffffff, expectedVni);

const schema = z
  .object({
    ...interfacePluginKeys,
    vni,
    /** A multicast group that all nodes are members of. */
    group: optional(address),
    /** The other nodes. The node's own addresses may be among them. */
    remotes: z.array(address, 'expected a list of addresses').max(4096).optional(),
    dstport: z.int(expectedPort).min(1, expectedPort).max(65_535, expectedPort).default(defaultPort),
    local: optional(ownAddress),
    /** Empty: the interface that has the address `local`, or that of the default route. */
    master: z.string('expected the name of an interface').default(''),
    /** The kernel notes which node a hardware address was seen at. */
    learning: z.boolean().default(true),
    ttl: z.int(expectedTtl).min(0, expectedTtl).max(255, expectedTtl).default(0),
    /** 0: what fits into the master's. */
    mtu: z.int().min(0).default(0),
    mac: macAddress.optional(),
    runtimeConfig: z.object({ mac: macAddress.optional() }).default({}),
  })
  .superRefine(({ group, remotes, local }, context) => {
    const complain = (path: string | number, message: string, ...rest: readonly (string | number)[]) =>
      context.addIssue({ code: 'custom', path: [path, ...rest], message });
    if (group === undefined && remotes === undefined) {
      complain(
        'remotes',
        'expected the addresses of the other nodes, or a group; an empty list where another program tells them',
      );
    }
    if (group !== undefined && remotes !== undefined) complain('remotes', 'expected nothing beside a group');
    if (group !== undefined && !isMulticast(group)) {
      complain('group', 'expected a multicast address, of 224.0.0.0/4 or ff00::/8');
    }
    const family = group?.family ?? remotes?.[0]?.family ?? local?.ip.family;
    for (const [index, remote] of (remotes ?? []).entries()) {
      if (remote.family !== family) complain('remotes', 'expected addresses of one family', index);
      else if (!isHost(remote)) complain('remotes', 'expected the address of one host', index);
    }
    if (local !== undefined && local.ip.family !== family) {
      complain('local', `expected an address of the same family, IPv${family}, as ${group ? 'group' : 'remotes'}`);
    }
  });

export type VxlanConfig = ReturnType<typeof parseVxlan>;

/** The MAC address is the runtime's, or that of CNI_ARGS, or the configuration's. */
export function parseVxlan({ config, attachment }: Pick<PluginCall, 'config' | 'attachment'>) {
  requireKnownArgs(attachment.args, ['MAC']);
  const { runtimeConfig, mac, ...keys } = parsePluginConfig(schema, config);
  return {
    ...keys,
    network: config.name,
    /** Of the network between the nodes. */
    family: keys.group?.family ?? keys.remotes?.[0]?.family ?? keys.local?.ip.family ?? 4,
    mac: runtimeConfig.mac ?? macArgument(attachment.args) ?? mac,
  };
}

/** All that DEL needs: what is wrong with the rest of a configuration must not keep it from releasing anything. */
export const deleteSchema = z.object({ vni: vni.optional().catch(undefined) });

const firstByte = ({ bytes }: IP): number => bytes[0] ?? 0;

/** RFC 5771 and RFC 4291, section 2.7. */
function isMulticast(ip: IP): boolean {
  return ip.family === 4 ? firstByte(ip) >= 224 && firstByte(ip) < 240 : firstByte(ip) === 0xff;
}

/** Neither everybody nor nobody: 0.0.0.0, ::, 255.255.255.255. */
function isHost(ip: IP): boolean {
  return !isMulticast(ip) && ip.bytes.some((byte) => byte !== 0) && ip.bytes.some((byte) => byte !== 0xff);
}
