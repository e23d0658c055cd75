import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { cniVersions, compareVersions } from '../cni/version.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { handle, ingressHandle, type Qdisc, qdiscs, rootHandle } from '../linux/qdisc.ts';
import { type Request, Rtnetlink } from '../linux/rtnetlink.ts';
import { trafficFilters } from '../linux/traffic-filter.ts';
import { createIfb, findIfb, gcIfbs, removeIfb } from './bandwidth/ifb.ts';
import { type Limits, readLimits } from './bandwidth/limits.ts';
import { type Shape, shapeProblem, shapeRequests } from './bandwidth/shape.ts';
import { Container } from './container-interface.ts';

/** What the original's filter says, whose class nobody asks for. */
const redirectedClass = handle(1, 1);

/**
 * Holds what a pod receives and sends to a rate, on the node's end of the pod's cable: what it receives where the node
 * sends it there; what it sends on an interface of its own, an IFB, which it is led through.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists: a failed ADD leaves
 * nothing, DEL removes all that ADD made, subnets count, and a burst below one packet is one packet.
 */
export const bandwidth: Plugin = {
  type: 'bandwidth',
  versions: cniVersions.filter((version) => compareVersions(version, '0.3.0') >= 0),

  validate({ config }) {
    readLimits(config);
  },

  async add(call) {
    const limits = readLimits(call.config);
    const prevResult = requirePrevResult(call, 'must be called as chained plugin');
    const { ingress, egress } = limits;
    if (ingress === undefined && egress === undefined) return prevResult;
    using container = Container.open(call.attachment);
    using node = Rtnetlink.open();
    const cable = await requireCable(container, node, call, prevResult);

    await using undo = new AsyncDisposableStack();
    const shapes = shapesOf(limits, cable);
    if (shapes.ingress !== undefined) {
      const [root, ...inside] = shapeRequests(cable.index, shapes.ingress);
      await make(node, cable, root);
      undo.defer(() => removeQdisc(node, cable.index, 'root'));
      await make(node, cable, ...inside);
    }
    if (shapes.egress === undefined) {
      undo.move();
      return prevResult;
    }
    const ifb = await createIfb(node, undo, call, cable.mtu);
    await make(node, ifb, ...shapeRequests(ifb.index, shapes.egress));
    await make(node, cable, qdiscs.add({ index: cable.index, kind: { type: 'ingress' } }));
    undo.defer(() => removeQdisc(node, cable.index, 'ingress'));
    await make(node, cable, trafficFilters.redirectAll(cable.index, ingressHandle, ifb.index, redirectedClass));
    undo.move();
    return { ...prevResult, interfaces: [...prevResult.interfaces, { name: ifb.name, mac: ifb.mac }] };
  },

  /** The way through the IFB goes first: without it there, the kernel drops what is led to it. */
  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    using node = Rtnetlink.open();
    const ifb = await findIfb(node, call);
    const cable = container && (await findCable(container, node, call.attachment.ifName));
    if (typeof cable === 'object') await removeShapes(node, cable, ifb);
    if (ifb !== undefined) await removeIfb(node, ifb);
  },

  async check(call) {
    const limits = readLimits(call.config);
    const prevResult = requirePrevResult(call, 'must be called as a chained plugin');
    if (limits.ingress === undefined && limits.egress === undefined) return;
    using container = Container.open(call.attachment);
    using node = Rtnetlink.open();
    const cable = await requireCable(container, node, call, prevResult);
    const shapes = shapesOf(limits, cable);
    if (shapes.ingress !== undefined) await requireShape(node, cable, shapes.ingress);
    if (shapes.egress === undefined) return;
    const ifb = await findIfb(node, call);
    if (ifb === undefined) throw failure('get ifb device: Link not found');
    await requireShape(node, ifb, shapes.egress);
    if ((await redirectionsOf(node, cable)).every((to) => to !== ifb.index)) {
      throw failure(`what ${cable.name} receives is not led through ${ifb.name}`);
    }
  },

  async gc(call) {
    using node = Rtnetlink.open();
    await gcIfbs(node, call);
  },
};

function requirePrevResult({ config, prevResult }: PluginCall, message: string): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    message,
    `network "${config.name}": bandwidth limits what a plugin before it made: put it after one in a conflist`,
  );
}

/**
 * The node's end of the cable whose other end is the container's interface.
 *
 * @returns A text that says what is there instead.
 */
async function findCable(container: Container, node: Rtnetlink, ifName: string): Promise<Link | string> {
  const [inside] = await container.netlink.settle(links.get({ name: ifName }));
  if (inside?.ok === false && !isKernelError(inside.error, 'ENODEV')) throw inside.error;
  if (inside?.ok !== true) return `container interface ${ifName} has no veth peer: there is no such interface`;
  const { kind, index, parent, parentNamespaceId } = inside.value;
  if (kind !== 'veth') {
    return `container interface ${ifName} has no veth peer: it is ${kind ?? 'hardware'}, whose traffic does not pass the node`;
  }
  if (parent === undefined || parentNamespaceId === undefined) return `the veth peer of ${ifName} is not in host ns`;
  const [found] = await node.settle(links.get({ index: parent }));
  if (found?.ok === false && !isKernelError(found.error, 'ENODEV')) throw found.error;
  // The number may be that of an interface in yet another namespace.
  if (found?.ok !== true || found.value.kind !== 'veth' || found.value.parent !== index) {
    return `veth peer with index ${parent} is not in host ns`;
  }
  return found.value;
}

async function requireCable(
  container: Container,
  node: Rtnetlink,
  { attachment: { ifName } }: PluginCall,
  { interfaces }: Result,
): Promise<Link> {
  if (interfaces.length === 0) throw failure('no interfaces provided');
  const cable = await findCable(container, node, ifName);
  if (typeof cable === 'string') throw failure(cable);
  if (interfaces.some(({ name, sandbox = '' }) => name === cable.name && sandbox === '')) return cable;
  throw failure(`no veth peer of container interface found in host ns: prevResult has no ${cable.name} of the node`);
}

function shapesOf({ ingress, egress, scope }: Limits, { mtu }: Link): { readonly [K in 'ingress' | 'egress']?: Shape } {
  return {
    ...(ingress && { ingress: { ...ingress, scope, side: 'source', mtu } }),
    ...(egress && { egress: { ...egress, scope, side: 'destination', mtu } }),
  };
}

/** @throws {CniError} naming the interface and what the kernel did not take. */
async function make(
  node: Rtnetlink,
  { name }: Link,
  ...requests: readonly (Request<void> | undefined)[]
): Promise<void> {
  const wanted = requests.filter((request) => request !== undefined);
  for (const outcome of await node.settle(...wanted)) {
    if (outcome.ok) continue;
    const { message, code } = outcome.error;
    throw new CniError(ErrorCode.Internal, `interface "${name}": ${message}`, remedies[code] ?? '', {
      cause: outcome.error,
    });
  }
}

const remedies: Readonly<Record<string, string>> = {
  EEXIST: 'another program, or an ADD before this one, limits this interface already',
  ENOENT: "the node's kernel lacks one of sch_tbf, sch_htb, sch_ingress, cls_u32, act_mirred: load it with modprobe",
};

/** Takes away what is like what an ADD makes, however much of it is there. */
async function removeShapes(node: Rtnetlink, cable: Link, ifb: Link | undefined): Promise<void> {
  const [root, ingress] = [await findQdisc(node, cable, 'root'), await findQdisc(node, cable, 'ingress')];
  if (ingress?.kind === 'ingress') {
    const ways = await redirectionsOf(node, cable);
    const isOurs = ways.every((to) => to === 0 || to === ifb?.index);
    if (isOurs) await removeQdisc(node, cable.index, 'ingress');
  }
  const isShape = root?.data?.type === 'tbf' || root?.data?.type === 'htb';
  if (isShape && root.handle === rootHandle) await removeQdisc(node, cable.index, 'root');
}

async function findQdisc(node: Rtnetlink, { index }: Link, which: 'root' | 'ingress'): Promise<Qdisc | undefined> {
  const [found] = await node.settle(qdiscs.get(index, which));
  if (found?.ok === false && !isKernelError(found.error, 'ENOENT', 'ENODEV')) throw found.error;
  return found?.ok === true ? found.value : undefined;
}

/** Indexes of the interfaces that what an interface receives is led to; 0 for one that is gone, undefined for none. */
async function redirectionsOf(node: Rtnetlink, { index }: Link): Promise<readonly (number | undefined)[]> {
  const [filters] = await node.run(trafficFilters.list(index, ingressHandle));
  return filters.map(({ redirectTo }) => redirectTo);
}

async function removeQdisc(node: Rtnetlink, index: number, which: 'root' | 'ingress'): Promise<void> {
  const [outcome] = await node.settle(qdiscs.delete(index, which));
  if (outcome?.ok === false && !isKernelError(outcome.error, 'ENOENT', 'EINVAL', 'ENODEV')) throw outcome.error;
}

async function requireShape(node: Rtnetlink, { name, index }: Link, shape: Shape): Promise<void> {
  const problem = await shapeProblem(node, index, shape);
  if (problem !== undefined) throw failure(`interface "${name}": ${problem}`);
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
