import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import {
  announceAddresses,
  Container,
  checkInterface,
  configureInterface,
  release,
  resultOf,
} from './container-interface.ts';
import { createWithAddresses, openHome } from './create-link.ts';
import { addRequiredIpam, checkIpam, gcIpam, interfacePluginKeys, requireIpam, statusIpam } from './ipam.ts';
import { findMaster } from './master.ts';

const schema = z.object({
  ...interfacePluginKeys,
  /** Empty: the interface of the result before, or that of the default route. */
  master: z.string().default(''),
  mode: z
    .enum(['', 'l2', 'l3', 'l3s'], 'expected l2, l3 or l3s')
    .default('l2')
    .transform((mode) => mode || 'l2'),
  /** Which interfaces of one master may reach each other: bridge all, private none, vepa by way of a switch outside. */
  flag: z
    .enum(['', 'bridge', 'private', 'vepa'], 'expected bridge, private or vepa')
    .default('bridge')
    .transform((flag) => flag || 'bridge'),
  /** 0: the master's. */
  mtu: z.int().min(0).default(0),
  /** The master is an interface of the container. */
  linkInContainer: z.boolean().default(false),
});

/**
 * More addresses behind the MAC address of an interface of the node, for networks that know only that one, such as a
 * cloud's. The kernel gives all ipvlan interfaces of one master the mode and the flag of the last that was made
 * (Documentation/networking/ipvlan.rst).
 *
 * Equal to the containernetworking plugin, but that nothing is left behind when an ADD fails, that a network without
 * addresses is refused before anything is made, that DEL needs neither the master nor a default route and lets an address
 * go only once no interface has it, that CHECK works without a master in the configuration, that GC reaches the IPAM
 * plugin, and that there is `flag`.
 */
export const ipvlan: Plugin = {
  type: 'ipvlan',
  versions: cniVersions,

  validate({ config }) {
    parsePluginConfig(schema, config);
  },

  async add(call) {
    const { ifName, netns } = call.attachment;
    const { ipam, mode, flag, mtu, linkInContainer, dns, ...config } = parsePluginConfig(schema, call.config);
    const master = config.master || chainedMaster(call.prevResult);
    const inherited = ipam.type === '' ? withAddresses(call.prevResult) : undefined;
    if (inherited === undefined) requireIpam(call.config);
    using container = Container.open(call.attachment);
    using home = openHome(container, linkInContainer);
    const parent = await findMaster(home.netlink, master, home.place);

    await using undo = new AsyncDisposableStack();
    const kind = { type: 'ipvlan', mode, flag } as const;
    const newLink = { name: ifName, parent: parent.index, mtu: mtu || undefined, kind };
    const reserve = async () => inherited ?? (await addRequiredIpam(call));
    const [link, addresses] = await createWithAddresses(undo, home, container, newLink, call, reserve);
    const result = resultOf(ifName, link, netns, addresses, dns);
    announceAddresses(container, ifName);
    await configureInterface(container, link, result);
    undo.move();
    return result;
  },

  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    await release(container, call);
  },

  async check(call) {
    const { master, mode, flag, linkInContainer } = parsePluginConfig(schema, call.config);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    using home = openHome(container, linkInContainer);
    // The result is that of the whole chain here: it does not tell the master any more.
    if (master !== '') await findMaster(home.netlink, master, home.place);
    const { name, data } = await checkInterface(container, call);
    if (data?.type !== 'ipvlan') throw mismatch(`Container interface ${name} not of type ipvlan`);
    if (data.mode !== mode) {
      throw mismatch(`Container IPVlan mode ${data.mode} does not match expected value: ${mode}`);
    }
    if (data.flag !== flag) {
      throw mismatch(`Container IPVlan flag ${data.flag} does not match expected value: ${flag}`);
    }
  },

  status: statusIpam,
  gc: gcIpam,
};

/** Empty when there is no result before this plugin. */
function chainedMaster(prevResult: Result | undefined): string {
  if (prevResult === undefined) return '';
  const [first, ...others] = prevResult.interfaces;
  if (first !== undefined && first.name !== '' && others.length === 0) return first.name;
  const names = prevResult.interfaces.map(({ name }) => `"${name}"`).join(', ');
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    'chained master failure. PrevResult lacks a single named interface',
    `it has ${names || 'none'}: name the master in the configuration`,
  );
}

const withAddresses = (result: Result | undefined): Result | undefined =>
  result !== undefined && result.ips.length > 0 ? result : undefined;

const mismatch = (message: string): CniError => new CniError(ErrorCode.Internal, message);
