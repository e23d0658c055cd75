import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CniError, ErrorCode } from '../../cni/error.ts';
import type { Attachment, Plugin, PluginConfig } from '../../cni/plugin.ts';
import type { Result } from '../../cni/result.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { cniVersions } from '../../cni/version.ts';
import { addresses } from '../../linux/address.ts';
import { links } from '../../linux/link.ts';
import { NetworkNamespace } from '../../linux/namespace.ts';
import { neighbours } from '../../linux/neighbour.ts';
import { routes, Scope } from '../../linux/route.ts';
import { Rtnetlink } from '../../linux/rtnetlink.ts';
import { formatPrefix, hostPrefix, type Prefix, parseIP, parsePrefix } from '../../net/ip.ts';
import { Container } from '../../plugins/container-interface.ts';

/** Where every pod sends what is not for itself. No interface has the address: a permanent neighbour entry answers for it. */
const gateway = parseIP('169.254.1.1');

/** The number of the main route table, which the VPC CNI puts where a result has a MAC. */
const mainRouteTable = '254';

const schema = z.object({
  vethPrefix: z
    .string()
    .regex(/^[a-z]{1,4}$/, 'expected one to four letters')
    .default('eni'),
  /** A string, other than in every other plugin. */
  mtu: z
    .string()
    .regex(/^[1-9]\d{3,4}$/, 'expected a number in quotes, from 1000')
    .default('9001'),
});

export interface AwsCniOptions {
  /** The node's addresses, which ipamd has on its network interfaces: given out in order, the first one first. */
  readonly addresses: { readonly subnet: string; readonly rangeStart: string; readonly rangeEnd: string };
  /** Directory in which it is noted who has which. */
  readonly dataDir: string;
}

/**
 * The Amazon VPC CNI as its callers see it: the interface that it makes, what it leaves on the node, and the result that
 * it answers with, which has a route table's number for a MAC and an interface that does not exist. Addresses come from
 * this node's disk instead of ipamd and EC2.
 */
export function awsCni(options: AwsCniOptions): Plugin {
  return {
    type: 'aws-cni',
    versions: cniVersions,

    async add({ config, attachment, plugins }) {
      const { vethPrefix, mtu } = parsePluginConfig(schema, config);
      const suffix = podSuffix(attachment);
      const hostName = `${vethPrefix}${suffix}`;
      const ipam = ipamConfig(config, options);
      await using undo = new AsyncDisposableStack();
      const reserved = await plugins.add(ipam, attachment);
      undo.defer(() => plugins.delete(ipam, attachment));
      const address = hostPrefix(parsePrefix(reserved.ips[0]?.address ?? '').ip);
      await connect(attachment, hostName, Number(mtu), address, undo);
      undo.move();
      return resultOf(attachment, hostName, `dummy${suffix}`, address);
    },

    /** Of a pod that nobody knows, there is nothing to release. */
    async delete({ config, attachment, prevResult, plugins }) {
      const hostName = prevResult?.interfaces[0]?.name ?? hostNameOf(config, attachment);
      if (hostName !== undefined) await removeHostLink(hostName);
      await plugins.delete(ipamConfig(config, options), attachment);
    },

    async check({ config, attachment, plugins }) {
      await plugins.check(ipamConfig(config, options), attachment);
    },
  };
}

/** A pair of interfaces, its one end in the pod and the other on the node, and the routes to and from the pod. */
async function connect(
  attachment: Attachment,
  hostName: string,
  mtu: number,
  address: Prefix,
  undo: AsyncDisposableStack,
): Promise<void> {
  using node = Rtnetlink.open();
  using container = Container.open(attachment);
  // What an ADD that was cut off left behind.
  await node.settle(links.delete({ name: hostName }));
  const peer = { name: hostName, mtu, namespace: NetworkNamespace.host().fd };
  await container.netlink.run(links.create({ name: attachment.ifName, mtu, kind: { type: 'veth', peer } }));
  undo.defer(() => removeHostLink(hostName));
  const [host] = await node.run(links.get({ name: hostName }));
  const { index } = await container.link(attachment.ifName);
  await node.run(links.change(host.index, { up: true }));
  await container.netlink.run(
    links.change(index, { up: true }),
    addresses.add({ index, address }),
    routes.add({ family: 4, destination: hostPrefix(gateway), index, scope: Scope.link }),
    routes.add({ family: 4, gateway, index }),
    neighbours.set({ index, ip: gateway, mac: host.mac }),
  );
  await node.run(routes.replace({ family: 4, destination: address, index: host.index }));
}

function resultOf({ ifName, netns }: Attachment, hostName: string, dummyName: string, address: Prefix): Result {
  return {
    interfaces: [
      { name: hostName },
      { name: ifName, mac: mainRouteTable, sandbox: netns },
      // Carries the VLAN's number and the device's, both 0, to the plugin's own DEL.
      { name: dummyName, mac: '0', sandbox: '0' },
    ],
    ips: [{ address: formatPrefix(address), interface: 1 }],
    routes: [],
    dns: {},
  };
}

async function removeHostLink(name: string): Promise<void> {
  using node = Rtnetlink.open();
  const [outcome] = await node.settle(links.delete({ name }));
  if (outcome?.ok === false && outcome.error.code !== 'ENODEV') throw outcome.error;
}

function ipamConfig({ cniVersion, name }: PluginConfig, { addresses: range, dataDir }: AwsCniOptions): PluginConfig {
  return { cniVersion, name, type: 'host-local', ipam: { type: 'host-local', ...range, dataDir } };
}

function hostNameOf(config: PluginConfig, { args }: Attachment): string | undefined {
  if (!args.has('K8S_POD_NAME') || !args.has('K8S_POD_NAMESPACE')) return undefined;
  return `${parsePluginConfig(schema, config).vethPrefix}${suffixOf(args)}`;
}

function podSuffix({ args }: Attachment): string {
  const missing = ['K8S_POD_NAMESPACE', 'K8S_POD_NAME'].filter((key) => !args.get(key));
  if (missing.length === 0) return suffixOf(args);
  throw new CniError(ErrorCode.InvalidEnvironment, `aws-cni: CNI_ARGS lacks ${missing.join(' and ')}`);
}

/** What tells the interfaces of one pod from those of another. */
function suffixOf(args: Attachment['args']): string {
  const pod = `${args.get('K8S_POD_NAMESPACE')}.${args.get('K8S_POD_NAME')}`;
  return createHash('sha1').update(pod).digest('hex').slice(0, 11);
}
