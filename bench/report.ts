import { type PluginReport, renderPlugins } from './plugins.ts';
import { type PodReport, renderPods } from './pod-report.ts';
import type { Summary } from './statistics.ts';

interface Rate {
  readonly addsPerSecond: number;
  readonly deletesPerSecond: number;
  readonly add: Summary;
  readonly delete: Summary;
}

interface Target {
  readonly what: string;
  readonly wanted: string;
  readonly found: number;
  readonly reached: boolean;
}

/** All that was measured; times in milliseconds, memory in MB (10^6 bytes). */
export interface Report {
  readonly machine: {
    readonly cores: number;
    readonly kernel: string;
    readonly node: string;
    readonly goPlugins: string;
  };
  readonly oneAtATime: {
    readonly add: {
      readonly go: Summary;
      readonly plexus: Summary;
      /** The same netlink requests without a plugin around them. */
      readonly bare: Summary;
      /** The shim and the daemon without work: VERSION. */
      readonly shim: Summary;
    };
    readonly delete: { readonly go: Summary; readonly plexus: Summary; readonly bare: Summary };
  };
  readonly parallel: {
    readonly sandboxes: number;
    readonly atOnce: number;
    readonly rounds: number;
    readonly go: Rate;
    readonly plexus: Rate;
  };
  readonly memory: {
    readonly idle: number;
    readonly before: number;
    readonly after: number;
    readonly rounds: number;
  };
  readonly plugins: PluginReport;
  readonly pods: PodReport;
  readonly targets: readonly Target[];
}

/** The report as a person reads it. */
export function render({ machine, oneAtATime, parallel, memory, plugins, pods, targets }: Report): string {
  const { add, delete: del } = oneAtATime;
  const { go, plexus } = parallel;
  const lines = [
    `${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, containernetworking-plugins ${machine.goPlugins}`,
    '',
    `macvlan with host-local, one at a time, ${add.go.count} times      p50 ms   p99 ms`,
    row('ADD  the Go plugins, executed', add.go),
    row('     Plexus, through shim and daemon', add.plexus, `${ratio(add.go.p50, add.plexus.p50)} times faster`),
    row('     of which: the bare netlink calls', add.bare),
    row('     of which: shim and daemon, no work', add.shim),
    row('DEL  the Go plugins, executed', del.go),
    row('     Plexus, through shim and daemon', del.plexus, `${ratio(del.go.p50, del.plexus.p50)} times faster`),
    row('     of which: the bare netlink call', del.bare),
    '',
    `${parallel.sandboxes} sandboxes, ${parallel.atOnce} at a time, ${parallel.rounds} times      per second   p50 ms   p99 ms`,
    rateRow('ADD  the Go plugins, executed', go.addsPerSecond, go.add),
    rateRow('     Plexus, through shim and daemon', plexus.addsPerSecond, plexus.add, go.addsPerSecond),
    rateRow('DEL  the Go plugins, executed', go.deletesPerSecond, go.delete),
    rateRow('     Plexus, through shim and daemon', plexus.deletesPerSecond, plexus.delete, go.deletesPerSecond),
    '',
    `the daemon's memory (RSS): ${memory.idle.toFixed(1)} MB idle; ` +
      `${memory.before.toFixed(1)} MB before and ${memory.after.toFixed(1)} MB after ${memory.rounds} ADD and DEL`,
    '',
    ...renderPlugins(plugins),
    '',
    ...renderPods(pods),
    '',
    ...targets.map(({ what, wanted, found, reached }) => {
      const text = `${what}: ${found.toFixed(1)}`.padEnd(62);
      return `${reached ? 'reached' : 'MISSED '}  ${text} wanted ${wanted}`;
    }),
  ];
  return `${lines.join('\n')}\n`;
}

function row(what: string, { p50, p99 }: Summary, remark = ''): string {
  return `  ${what.padEnd(44)}${figure(p50)}${figure(p99)}   ${remark}`.trimEnd();
}

function rateRow(what: string, perSecond: number, { p50, p99 }: Summary, theirs?: number): string {
  const remark = theirs === undefined ? '' : `   ${ratio(perSecond, theirs)} times as many`;
  return `  ${what.padEnd(37)}${perSecond.toFixed(0).padStart(7)}${figure(p50)}${figure(p99)}${remark}`;
}

const figure = (value: number): string => value.toFixed(2).padStart(9);

const ratio = (a: number, b: number): string => (a / b).toFixed(1);
