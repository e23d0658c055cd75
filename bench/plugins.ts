import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '../src/cni/json.ts';
import { supportedKinds } from '../src/linux/link-kind-support.ts';
import { createNamedNamespace, deleteNamedNamespace } from '../src/linux/namespace.ts';
import { builtinPlugins } from '../src/plugins/builtin.ts';
import { addWire } from '../test/support/node.ts';
import { ensureCommands } from '../tools/debian.ts';
import { DaemonProcess } from './daemon.ts';
import { type Summary, summarise, timed } from './statistics.ts';
import { type Sandbox, Subject } from './subject.ts';

/*
 * Each plugin beside its original: one ADD and DEL by each, in turn, of the same configuration. A chained plugin gets the
 * result of a bridge that Plexus makes for each of its calls, and takes away after it.
 */

/** Rounds of each plugin, after those that warm up both. */
const rounds = Number(process.env['BENCH_PLUGIN_ROUNDS'] ?? 40);
const warmUp = 10;

/** In memory, as /run is on a node, where tuning keeps its files. */
const memory = '/dev/shm';

type Side = 'go' | 'plexus';

interface Candidate {
  readonly type: string;
  /** What it does here, where its name does not say so. */
  readonly what?: string;
  /** What its configuration has beside its IPAM plugin. */
  readonly keys: JsonObject;
  /** Whether it makes an interface, and so has an IPAM plugin. */
  readonly isInterface?: boolean;
  /** Times that ADD is to be faster at least. Default: 5 for an interface plugin, 1 for others. */
  readonly least?: number;
  /** Whether it changes what another plugin made. */
  readonly isChained?: boolean;
  /** The IPAM plugin's keys. Default: those of host-local with a subnet, for an interface plugin. */
  readonly ipam?: JsonObject;
  /** The kind of link that the kernel must know. */
  readonly kind?: 'ipvlan' | 'vlan' | 'dummy' | 'vrf';
  readonly ifName?: string;
}

const candidates: readonly Candidate[] = [
  { type: 'macvlan', keys: { master: 'ens6' }, isInterface: true },
  { type: 'ipvlan', keys: { master: 'ens7' }, isInterface: true, kind: 'ipvlan' },
  { type: 'vlan', keys: { master: 'ens8', vlanId: 100 }, isInterface: true, kind: 'vlan' },
  { type: 'bridge', keys: { isGateway: true }, isInterface: true },
  {
    type: 'bridge',
    what: 'masquerading',
    keys: { isGateway: true, ipMasq: true, ipMasqBackend: 'iptables' },
    isInterface: true,
    // Both execute the same iptables, which takes most of the time.
    least: 1,
  },
  { type: 'ptp', keys: {}, isInterface: true },
  { type: 'host-device', keys: { device: 'ens9' }, isInterface: true },
  { type: 'tap', keys: {}, isInterface: true },
  { type: 'dummy', keys: {}, isInterface: true, kind: 'dummy' },
  { type: 'tuning', keys: { mtu: 1400, sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' } }, isChained: true },
  {
    type: 'bandwidth',
    keys: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 },
    isChained: true,
  },
  ...['iptables', 'nftables'].map((backend) => ({
    type: 'portmap',
    what: `by ${backend}`,
    keys: { backend, runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } },
    isChained: true,
  })),
  { type: 'firewall', what: 'by iptables', keys: { backend: 'iptables' }, isChained: true },
  { type: 'sbr', keys: {}, isChained: true },
  { type: 'vrf', keys: { vrfname: 'blue' }, isChained: true, kind: 'vrf' },
  { type: 'loopback', keys: {}, ifName: 'lo' },
  { type: 'host-local', what: 'alone', keys: {}, ipam: { type: 'host-local', subnet: '10.66.0.0/16' } },
  {
    type: 'static',
    what: 'alone',
    keys: {},
    ipam: { type: 'static', addresses: [{ address: '10.66.0.9/16', gateway: '10.66.0.1' }] },
  },
];

interface Calls {
  readonly add: Summary;
  readonly delete: Summary;
}

export interface PluginFigures {
  /** The plugin, and what it does. */
  readonly what: string;
  /** Times that ADD is to be faster at least. */
  readonly least: number;
  readonly go: Calls;
  readonly plexus: Calls;
}

export interface PluginReport {
  readonly rounds: number;
  readonly figures: readonly PluginFigures[];
  /** Plugins whose kind of link this kernel does not have. */
  readonly lacking: readonly string[];
}

/**
 * Measures every plugin that the kernel can run. dhcp is not among them: what its ADD takes is up to the server.
 *
 * @param directory For what the plugins keep.
 * @param shim The CNI binary of Plexus.
 * @param go The directory of the original plugins.
 */
export async function measureEachPlugin(directory: string, shim: string, go: string): Promise<PluginReport> {
  await ensureCommands(['nft', 'iptables']);
  const place = join(directory, 'plugins');
  const links = join(place, 'bin');
  await mkdir(links, { recursive: true });
  for (const { type } of builtinPlugins) await symlink(shim, join(links, type));
  for (const wire of ['ens7', 'ens8', 'ens9']) await addWire(wire);

  await using stack = new AsyncDisposableStack();
  const run = await mkdtemp(join(memory, 'plx-bench-'));
  stack.defer(() => rm(run, { recursive: true }));
  const daemon = stack.use(await DaemonProcess.start(place));
  const netns = await createNamedNamespace(`plx-bench-${process.pid}-plugins`);
  stack.defer(() => deleteNamedNamespace(netns));
  const sandbox: Sandbox = { containerId: 'bench-plugins', netns };
  const kinds = candidates.flatMap(({ kind }) => kind ?? []);
  const supported = await supportedKinds(kinds);
  const figures: PluginFigures[] = [];
  for (const candidate of candidates) {
    if (candidate.kind !== undefined && !supported.has(candidate.kind)) continue;
    const subjects = {
      go: new Player('go', join(go, candidate.type), candidate, { place, run }, {}),
      plexus: new Player(
        'plexus',
        join(links, candidate.type),
        candidate,
        { place, run },
        { PLEXUS_SOCKET: daemon.socket },
      ),
    };
    const { type, what = '', isInterface = false, least = isInterface ? 5 : 1 } = candidate;
    const base = candidate.isChained ? new Base(join(links, 'bridge'), place, daemon.socket) : undefined;
    figures.push({ what: `${type} ${what}`.trim(), least, ...(await measure(subjects, sandbox, base)) });
  }
  return { rounds, figures, lacking: kinds.filter((kind) => !supported.has(kind)) };
}

/** In turn, so that whatever else the machine does meets both alike. */
async function measure(
  players: Readonly<Record<Side, Player>>,
  sandbox: Sandbox,
  base: Base | undefined,
): Promise<Readonly<Record<Side, Calls>>> {
  const times = { go: { add: [], delete: [] }, plexus: { add: [], delete: [] } };
  const measured: Record<Side, Record<keyof Calls, number[]>> = times;
  for (let round = -warmUp; round < rounds; round++) {
    for (const side of ['go', 'plexus'] as const) {
      const subject = await players[side].prepare(await base?.add(sandbox));
      const add = await timed(() => subject.call('ADD', sandbox));
      const del = await timed(() => subject.call('DEL', sandbox));
      await base?.delete(sandbox);
      if (round < 0) continue;
      measured[side].add.push(add);
      measured[side].delete.push(del);
    }
  }
  const callsOf = (side: Side): Calls => ({
    add: summarise(measured[side].add),
    delete: summarise(measured[side].delete),
  });
  return { go: callsOf('go'), plexus: callsOf('plexus') };
}

/** A plugin of one of the two, with a network of its own. */
class Player {
  readonly #binary: string;
  readonly #directory: string;
  readonly #config: JsonObject;
  readonly #environment: Readonly<Record<string, string>>;

  constructor(
    side: Side,
    binary: string,
    { type, keys, isInterface = false, ipam, ifName = 'net1' }: Candidate,
    { place, run }: { readonly place: string; readonly run: string },
    environment: Readonly<Record<string, string>>,
  ) {
    this.#binary = binary;
    this.#directory = place;
    // Where the original finds nft and iptables.
    this.#environment = { PATH: process.env['PATH'] ?? '', CNI_IFNAME: ifName, ...environment };
    const subnet = side === 'go' ? '10.65.0.0/16' : '10.66.0.0/16';
    const dataDir = join(place, side);
    const addresses =
      ipam ?? (isInterface ? { type: 'host-local', subnet, routes: [{ dst: '10.9.0.0/16' }] } : undefined);
    this.#config = {
      cniVersion: '1.0.0',
      name: `bench-${type}`,
      type,
      ...(type === 'bridge' && { bridge: `br-${side}` }),
      ...(type === 'tuning' && { dataDir: join(run, side) }),
      ...keys,
      ...(addresses !== undefined && { ipam: { dataDir, ...addresses } }),
    };
  }

  prepare(prevResult: JsonObject | undefined): Promise<Subject> {
    const config = JSON.stringify({ ...this.#config, ...(prevResult !== undefined && { prevResult }) });
    return Subject.of(this.#binary, config, this.#directory, this.#environment);
  }
}

/** What a chained plugin follows. */
class Base {
  readonly #subject: Promise<Subject>;

  constructor(binary: string, directory: string, socket: string) {
    const addresses = [{ address: '10.67.0.9/16', gateway: '10.67.0.1' }];
    const ipam = { type: 'static', addresses, routes: [{ dst: '0.0.0.0/0' }] };
    const config = {
      cniVersion: '1.0.0',
      name: 'bench-base',
      type: 'bridge',
      bridge: 'br-base',
      isGateway: true,
      ipam,
    };
    this.#subject = mkdir(join(directory, 'base'), { recursive: true }).then(() =>
      Subject.of(binary, JSON.stringify(config), join(directory, 'base'), { PLEXUS_SOCKET: socket }),
    );
  }

  async add(sandbox: Sandbox): Promise<JsonObject> {
    const printed: unknown = JSON.parse(await (await this.#subject).answer('ADD', sandbox));
    if (!isJsonObject(printed)) throw new Error('a bridge printed no result');
    return printed;
  }

  async delete(sandbox: Sandbox): Promise<void> {
    await (await this.#subject).call('DEL', sandbox);
  }
}

/** As a person reads it. */
export function renderPlugins({ rounds, figures, lacking }: PluginReport): string[] {
  return [
    `each plugin, one at a time, ${rounds} times          ADD p50 ms: Go   Plexus   DEL p50 ms: Go   Plexus`,
    ...figures.map(({ what, go, plexus }) => {
      const [add, del] = [go.add.p50 / plexus.add.p50, go.delete.p50 / plexus.delete.p50];
      const cells = [go.add.p50, plexus.add.p50, go.delete.p50, plexus.delete.p50].map((each) => each.toFixed(2));
      const [goAdd = '', ownAdd = '', goDel = '', ownDel = ''] = cells;
      const times = `${add.toFixed(1)} and ${del.toFixed(1)} times faster`;
      return `  ${what.padEnd(36)}${goAdd.padStart(22)}${ownAdd.padStart(9)}${goDel.padStart(17)}${ownDel.padStart(9)}   ${times}`;
    }),
    ...(lacking.length > 0 ? [`  not measured, for this kernel lacks their kind of link: ${lacking.join(', ')}`] : []),
  ];
}

/** The slowest plugin decides. */
export function pluginTargets({ figures }: PluginReport) {
  const slowestOf = (candidates: readonly PluginFigures[], call: keyof Calls) =>
    candidates
      .map(({ what, go, plexus }) => ({ what, times: go[call].p50 / plexus[call].p50 }))
      .reduce((least, each) => (each.times < least.times ? each : least));
  const interfaces = slowestOf(
    figures.filter(({ least }) => least > 1),
    'add',
  );
  const add = slowestOf(figures, 'add');
  const del = slowestOf(figures, 'delete');
  return [
    { call: 'ADD p50, interface plugins', least: 5, ...interfaces },
    { call: 'ADD p50, every plugin', least: 1, ...add },
    // Most of it is the kernel's time, which varies by as much.
    { call: 'DEL p50, every plugin', least: 0.9, ...del },
  ].map(({ call, least, what, times }) => ({
    what: `${call}, times faster than Go (least: ${what})`,
    wanted: `>= ${least}`,
    found: times,
    reached: times >= least,
  }));
}
