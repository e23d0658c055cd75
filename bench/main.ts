import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { links } from '../src/linux/link.ts';
import { createNamedNamespace, deleteNamedNamespace } from '../src/linux/namespace.ts';
import { Rtnetlink } from '../src/linux/rtnetlink.ts';
import { addWire, becomeNode } from '../test/support/node.ts';
import { buildShim } from '../test/support/shim.ts';
import { goPlugins } from '../tools/debian.ts';
import { addBare, deleteBare } from './bare.ts';
import { DaemonProcess } from './daemon.ts';
import { measureEachPlugin, pluginTargets } from './plugins.ts';
import { measurePods } from './pods.ts';
import { type Report, render } from './report.ts';
import { inParallel, summarise, timed } from './statistics.ts';
import { type Sandbox, Subject } from './subject.ts';

/*
 * make bench: a macvlan with an address of host-local, made by the containernetworking plugins and by Plexus, in turn, on
 * the same kernel; each other plugin in the same way, in fewer rounds; then whole pods, by Plexus alone. BENCH_JSON=FILE
 * writes the figures; BENCH_ROUNDS, BENCH_PLUGIN_ROUNDS, BENCH_SOAK and BENCH_PODS change how much is done.
 */

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 200);
const soakRounds = Number(process.env['BENCH_SOAK'] ?? 5_000);
const parallel = { sandboxes: 100, atOnce: 10, rounds: 3 };
const goVersion = '1.9';

becomeNode();

const directory = await mkdtemp(join(tmpdir(), 'plx-bench-'));
const sandboxes: Sandbox[] = [];
try {
  const report = await measure();
  process.stdout.write(render(report));
  const file = process.env['BENCH_JSON'];
  if (file) await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
  process.exitCode = report.targets.every(({ reached }) => reached) ? 0 : 1;
} finally {
  for (const { netns } of sandboxes) await deleteNamedNamespace(netns);
  await rm(directory, { recursive: true });
}

async function measure(): Promise<Report> {
  await addWire('ens6');
  const macvlan = await measureMacvlan();
  say('each plugin');
  const plugins = await measureEachPlugin(directory, await buildShim(), await goPlugins(goVersion));
  await loopbackUp();
  const pods = await measurePods(directory, await buildShim(), say);
  const targets = [...macvlan.targets, ...pluginTargets(plugins), ...podTargets(pods)];
  return { ...macvlan, plugins, pods, targets };
}

async function measureMacvlan(): Promise<Omit<Report, 'plugins' | 'pods'>> {
  for (let i = 0; i < parallel.sandboxes; i++) {
    const netns = await createNamedNamespace(`plx-bench-${process.pid}-${i}`);
    sandboxes.push({ containerId: `bench-${i}`, netns });
  }
  await using daemon = await DaemonProcess.start(directory);
  const socket = { PLEXUS_SOCKET: daemon.socket };
  const linked = await linkedPlugin();
  const go = await Subject.of(join(await goPlugins(goVersion), 'macvlan'), networkConfig('go'), await folder('go'));
  const plexus = await Subject.of(linked, networkConfig('plexus'), await folder('plexus'), socket);
  const shim = await Subject.of(linked, '{"cniVersion":"1.0.0"}', await folder('shim'), socket);

  say(`one at a time, ${rounds} sandboxes`);
  const single = await oneAtATime(go, plexus, shim);
  const idle = await daemon.residentMemory();
  say(`${parallel.sandboxes} sandboxes, ${parallel.atOnce} at a time`);
  const goRate = await atOnce(go);
  const plexusRate = await atOnce(plexus);
  say(`${soakRounds} ADD and DEL`);
  const memory = await soak(plexus, daemon);

  const add = single.add.go.p50 / single.add.plexus.p50;
  const rate = plexusRate.addsPerSecond / goRate.addsPerSecond;
  const removal = single.delete.plexus.p50 - single.delete.bare.p50;
  const growth = memory.after / memory.before - 1;
  return {
    machine: { cores: cpus().length, kernel: release(), node: process.version, goPlugins: goVersion },
    oneAtATime: single,
    parallel: { ...parallel, go: goRate, plexus: plexusRate },
    memory: { idle, ...memory, rounds: soakRounds },
    targets: [
      { what: 'ADD p50, times faster than the Go plugin', wanted: '>= 5', found: add, reached: add >= 5 },
      { what: 'ADD per second at 10 at a time, times the Go plugin', wanted: '>= 5', found: rate, reached: rate >= 5 },
      { what: 'DEL p50, ms above the kernel', wanted: '<= 5', found: removal, reached: removal <= 5 },
      { what: 'RSS of the idle daemon, MB', wanted: '<= 100', found: idle, reached: idle <= 100 },
      {
        what: `RSS growth over ${soakRounds} ADD and DEL, %`,
        wanted: '<= 10',
        found: growth * 100,
        reached: growth <= 0.1,
      },
    ],
  };
}

function podTargets({ builtin, podsAtOnce }: Report['pods']): Report['targets'] {
  const { p50 } = builtin.oneAtATime.add;
  const rate = builtin.atOnce.podsPerSecond;
  const requests = builtin.oneAtATime.requestsBeforeAnswer;
  return [
    { what: 'a whole pod, p50, ms', wanted: '<= 10', found: p50, reached: p50 <= 10 },
    { what: `pods per second, ${podsAtOnce} at once`, wanted: '>= 150', found: rate, reached: rate >= 150 },
    { what: 'API requests before the answer', wanted: '<= 2', found: requests, reached: requests <= 2 },
  ];
}

/** The API server is reached by it. */
async function loopbackUp(): Promise<void> {
  using netlink = Rtnetlink.open();
  const [{ index }] = await netlink.run(links.get({ name: 'lo' }));
  await netlink.run(links.change(index, { up: true }));
}

function networkConfig(name: string): string {
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: 'bench',
    type: 'macvlan',
    master: 'ens6',
    mode: 'bridge',
    ipam: {
      type: 'host-local',
      dataDir: join(directory, name),
      ranges: [[{ subnet: '10.64.0.0/16' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  });
}

async function folder(name: string): Promise<string> {
  const path = join(directory, `${name}.calls`);
  await mkdir(path);
  return path;
}

/** The shim under a plugin's name, as an administrator links it in /opt/cni/bin. */
async function linkedPlugin(): Promise<string> {
  const link = join(directory, 'macvlan');
  await symlink(await buildShim(), link);
  return link;
}

/** In turn, so that whatever else the machine does meets all of them alike. */
async function oneAtATime(go: Subject, plexus: Subject, shim: Subject): Promise<Report['oneAtATime']> {
  const times = { goAdd: [], goDel: [], add: [], del: [], bareAdd: [], bareDel: [], shim: [] } satisfies Record<
    string,
    number[]
  >;
  const measured: Record<keyof typeof times, number[]> = times;
  for (let i = -10; i < rounds; i++) {
    const sandbox = sandboxes[Math.abs(i) % sandboxes.length];
    if (sandbox === undefined) throw new Error('no sandboxes');
    const took = {
      goAdd: await timed(() => go.call('ADD', sandbox)),
      goDel: await timed(() => go.call('DEL', sandbox)),
      add: await timed(() => plexus.call('ADD', sandbox)),
      del: await timed(() => plexus.call('DEL', sandbox)),
      bareAdd: await timed(() => addBare(sandbox.netns, '10.64.9.9/16')),
      bareDel: await timed(() => deleteBare(sandbox.netns)),
      shim: await timed(() => shim.call('VERSION', sandbox)),
    };
    // The first rounds warm up caches and compilers of all of them.
    if (i < 0) continue;
    measured.goAdd.push(took.goAdd);
    measured.goDel.push(took.goDel);
    measured.add.push(took.add);
    measured.del.push(took.del);
    measured.bareAdd.push(took.bareAdd);
    measured.bareDel.push(took.bareDel);
    measured.shim.push(took.shim);
  }
  return {
    add: {
      go: summarise(measured.goAdd),
      plexus: summarise(measured.add),
      bare: summarise(measured.bareAdd),
      shim: summarise(measured.shim),
    },
    delete: { go: summarise(measured.goDel), plexus: summarise(measured.del), bare: summarise(measured.bareDel) },
  };
}

async function atOnce(subject: Subject): Promise<Report['parallel']['go']> {
  const adds: number[] = [];
  const deletes: number[] = [];
  let adding = 0;
  let deleting = 0;
  for (let round = 0; round < parallel.rounds; round++) {
    adding += await timed(() =>
      inParallel(sandboxes, parallel.atOnce, async (sandbox) => {
        adds.push(await timed(() => subject.callBeside('ADD', sandbox)));
      }),
    );
    deleting += await timed(() =>
      inParallel(sandboxes, parallel.atOnce, async (sandbox) => {
        deletes.push(await timed(() => subject.callBeside('DEL', sandbox)));
      }),
    );
  }
  return {
    addsPerSecond: (adds.length / adding) * 1000,
    deletesPerSecond: (deletes.length / deleting) * 1000,
    add: summarise(adds),
    delete: summarise(deletes),
  };
}

/** Memory before and after: the daemon is warm by then, so that what is left is growth. */
async function soak(subject: Subject, daemon: DaemonProcess): Promise<{ before: number; after: number }> {
  const addAndDelete = async (sandbox: Sandbox): Promise<void> => {
    await subject.callBeside('ADD', sandbox);
    await subject.callBeside('DEL', sandbox);
  };
  const before = await daemon.residentMemory();
  for (let done = 0; done < soakRounds; done += sandboxes.length) {
    await inParallel(sandboxes.slice(0, soakRounds - done), parallel.atOnce, addAndDelete);
  }
  return { before, after: await daemon.residentMemory() };
}

function say(text: string): void {
  process.stderr.write(`${text} ...\n`);
}
