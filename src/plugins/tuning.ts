import { z } from 'zod';
import { requireKnownArgs } from '../cni/args.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { ConfigCall, Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { type Link, links } from '../linux/link.ts';
import { readSysctl, writeSysctl } from '../linux/sysctl.ts';
import { Container } from './container-interface.ts';
import { macAddress, macArgument } from './mac-address.ts';
import { type Backup, backupOf } from './tuning/backup.ts';
import { allowlistFile, pathOf, requireAllowed } from './tuning/sysctl.ts';

const settings = {
  /** Names with dots, and IFNAME for the interface's. */
  sysctl: z.record(z.string().max(256), z.string('expected a text such as "500"').max(4096)).default({}),
  /** Empty counts as absent. */
  mac: macAddress.optional(),
  promisc: z.boolean().optional(),
  /** 0: as it is. */
  mtu: z.int().min(0).optional(),
  allmulti: z.boolean().optional(),
  txQLen: z.int().min(0).max(0xffffffff).optional(),
};

const dataDir = z
  .string()
  .regex(/^(\/.*)?$/, 'expected an absolute path')
  .transform((path) => path || '/run/cni/tuning')
  .default('/run/cni/tuning');

const schema = z.object({
  ...settings,
  dataDir,
  runtimeConfig: z.object({ mac: macAddress.optional() }).default({}),
  args: z.object({ cni: z.object(settings).optional() }).default({}),
});

/** All that DEL needs: what is wrong with the rest of a configuration must not keep it from giving anything back. */
const deleteSchema = z.object({ dataDir });

/**
 * Changes sysctls and the interface that the plugins before it made.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists: an ADD that fails
 * has changed nothing, and DEL gives back sysctls as well.
 *
 * @param allowlist File of regular expressions, one of which each sysctl's name must match. None: all are allowed.
 */
export const createTuning = (allowlist: string = allowlistFile): Plugin => ({
  type: 'tuning',
  versions: cniVersions,

  validate(call) {
    sysctlsOf(parse(call).sysctl, call.attachment.ifName);
  },

  async add(call) {
    const { attachment } = call;
    const { dataDir, sysctl, wanted } = parse(call);
    const prevResult = requirePrevResult(call);
    await requireAllowed(Object.keys(sysctl), allowlist);
    const values = sysctlsOf(sysctl, attachment.ifName);
    using container = Container.open(attachment);
    const link = isEmpty(wanted) ? undefined : await container.link(attachment.ifName);

    await using undo = new AsyncDisposableStack();
    const file = backupOf(dataDir, attachment);
    await file.keep({ ...(link && attributesOf(link, wanted)), sysctl: await present(container, values) });
    undo.defer(() => giveBack(container, call, dataDir));
    for (const [path, value] of values) await setSysctl(container, path, value);
    if (link !== undefined) await change(container, link, wanted);
    undo.move();
    return withMac(prevResult, attachment.ifName, wanted.mac);
  },

  async delete(call) {
    const { dataDir } = parsePluginConfig(deleteSchema, call.config);
    using container = Container.openIfAny(call.attachment);
    if (container === undefined) await backupOf(dataDir, call.attachment).remove();
    else await giveBack(container, call, dataDir);
  },

  async check(call) {
    const { ifName } = call.attachment;
    const { sysctl, wanted } = parse(call);
    requirePrevResult(call);
    using container = Container.open(call.attachment);
    for (const [path, value] of sysctlsOf(sysctl, ifName)) {
      const current = await readSysctl(container.namespace, ...path);
      if (words(current) === words(value)) continue;
      throw changed(`value of /proc/sys/net/${path.join('/')}`, value, current);
    }
    const link = await container.link(ifName);
    const { mac, promisc, mtu, allmulti, txQLen } = wanted;
    compare(`Ethernet of ${ifName}`, mac, link.mac);
    compare(`promisc of ${ifName}`, promisc, link.promiscuity > 0);
    compare(`MTU of ${ifName}`, mtu, link.mtu);
    compare(`all-multicast mode of ${ifName}`, allmulti, link.flags.allmulti);
    compare(`Transmit Queue Length of ${ifName}`, txQLen, link.txQueueLength);
  },
});

export const tuning: Plugin = createTuning();

/** What an interface is to be, or was; absent where it does not matter. */
interface Attributes {
  readonly mac?: string | undefined;
  readonly promisc?: boolean | undefined;
  readonly mtu?: number | undefined;
  readonly allmulti?: boolean | undefined;
  readonly txQLen?: number | undefined;
}

/** `args.cni` of the configuration counts most, then the runtime's MAC address, that of CNI_ARGS, and the configuration. */
function parse({ config, attachment }: ConfigCall) {
  requireKnownArgs(attachment.args, ['MAC']);
  const { runtimeConfig, args, dataDir, ...own } = parsePluginConfig(schema, config);
  const { sysctl, mtu, promisc, ...rest } = { ...own, ...given(args.cni) };
  const mac = args.cni?.mac ?? runtimeConfig.mac ?? macArgument(attachment.args) ?? own.mac;
  const wanted: Attributes = { ...rest, mac, mtu: mtu || undefined, promisc: promisc || undefined };
  return { dataDir, sysctl: { ...own.sysctl, ...args.cni?.sysctl }, wanted };
}

/** The keys that have a value. */
function given<T extends object>(object: T | undefined): Partial<T> {
  const isGiven = <K extends string>(entry: [K, unknown]): boolean => entry[1] !== undefined;
  const entries = Object.entries(object ?? {}).filter(isGiven);
  const kept: Partial<T> = {};
  return Object.assign(kept, Object.fromEntries(entries));
}

function requirePrevResult({ config, prevResult }: PluginCall): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    'Required prevResult missing',
    `network "${config.name}": tuning changes what a plugin before it made: put it after one in a conflist`,
  );
}

const isEmpty = (wanted: Attributes): boolean => Object.values(wanted).every((value) => value === undefined);

type SysctlValue = readonly [path: readonly string[], value: string];

const sysctlsOf = (sysctl: Readonly<Record<string, string>>, ifName: string): readonly SysctlValue[] =>
  Object.entries(sysctl).map(([key, value]) => [pathOf(key, ifName), value]);

/** The values, before they change, by their paths below /proc/sys/net. */
async function present(
  { namespace }: Container,
  values: readonly SysctlValue[],
): Promise<Record<string, string> | undefined> {
  if (values.length === 0) return undefined;
  const read = values.map(async ([path]) => [path.join('/'), await readSysctl(namespace, ...path)] as const);
  return Object.fromEntries(await Promise.all(read));
}

/** An interface's attributes, as far as they are to change. */
function attributesOf(link: Link, wanted: Attributes): Attributes {
  return {
    ...(wanted.mac !== undefined && { mac: link.mac }),
    ...(wanted.promisc !== undefined && { promisc: link.flags.promisc }),
    ...(wanted.mtu !== undefined && { mtu: link.mtu }),
    ...(wanted.allmulti !== undefined && { allmulti: link.flags.allmulti }),
    ...(wanted.txQLen !== undefined && { txQLen: link.txQueueLength }),
  };
}

async function setSysctl({ namespace }: Container, path: readonly string[], value: string): Promise<void> {
  try {
    await writeSysctl(namespace, value, ...path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CniError(ErrorCode.Internal, `sysctl net.${path.join('.')} cannot be "${value}": ${reason}`);
  }
}

/** One request for each attribute, so that one which is refused is named, and keeps none of the others from being set. */
async function change({ netlink }: Container, { index }: Link, wanted: Attributes): Promise<void> {
  const { mac, promisc, mtu, allmulti, txQLen } = wanted;
  const changes = [
    { mac },
    { promiscuous: promisc },
    { mtu },
    { allMulticast: allmulti },
    { txQueueLength: txQLen },
  ].filter((each) => Object.values(each).some((value) => value !== undefined));
  const outcomes = await netlink.settle(...changes.map((each) => links.change(index, each)));
  const problems = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error.message]));
  if (problems.length > 0) throw new CniError(ErrorCode.Internal, problems.join('; '));
}

/** Makes the interface and the sysctls what they were. What is gone by now needs nothing. */
async function giveBack(container: Container, { attachment }: PluginCall, dataDir: string): Promise<void> {
  const file = backupOf(dataDir, attachment);
  const backup = await file.read();
  if (backup !== undefined) await restore(container, attachment.ifName, backup);
  await file.remove();
}

async function restore(container: Container, ifName: string, { sysctl, ...attributes }: Backup): Promise<void> {
  const [link] = await container.netlink.settle(links.get({ name: ifName }));
  if (link?.ok === true) await change(container, link.value, attributes);
  for (const [path, value] of Object.entries(sysctl ?? {})) {
    try {
      await writeSysctl(container.namespace, value, ...path.split('/'));
    } catch (error) {
      // Those of an interface that is gone.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
}

/** The result, with the MAC address that the interface has by now. */
function withMac(result: Result, ifName: string, mac: string | undefined): Result {
  if (mac === undefined) return result;
  return { ...result, interfaces: result.interfaces.map((each) => (each.name === ifName ? { ...each, mac } : each)) };
}

/** The kernel writes lists with tabs between, people with spaces. */
const words = (text: string): string => text.trim().split(/\s+/).join(' ');

function compare<T extends string | number | boolean>(what: string, wanted: T | undefined, current: T): void {
  if (wanted !== undefined && wanted !== current) throw changed(what, wanted, current);
}

function changed(what: string, wanted: unknown, current: unknown): CniError {
  const message = `Error: Tuning configured ${what} is ${wanted}, current value is ${current}`;
  return new CniError(ErrorCode.Internal, message);
}
