import type { Summary } from './statistics.ts';

/** Milliseconds of processor time for each pod, until its events are written. */
export interface CpuPerPod {
  readonly daemon: number;
  /** What the daemon executed. */
  readonly executed: number;
  readonly shim: number;
  readonly api: number;
  /** This program, which executes the shim. */
  readonly launcher: number;
}

/** With one default network. Times in milliseconds. */
export interface PodFigures {
  readonly oneAtATime: {
    readonly add: Summary;
    readonly delete: Summary;
    /** To the API server, for each pod: those that arrived before the runtime had its answer to ADD, and all. */
    readonly requestsBeforeAnswer: number;
    readonly requests: number;
  };
  readonly atOnce: {
    readonly podsPerSecond: number;
    readonly deletesPerSecond: number;
    readonly add: Summary;
    readonly delete: Summary;
    readonly requests: number;
    readonly cpu: CpuPerPod;
  };
}

export interface PodReport {
  readonly podsAtOnce: number;
  /** How often so many pods were started at once. */
  readonly storms: number;
  /** The default network is a plugin that is built in. */
  readonly builtin: PodFigures;
  /** The default network is a plugin that is executed. */
  readonly executed: PodFigures;
  /** Resident memory of the daemon in MB (10^6 bytes), idle and after the pods of the built-in network. */
  readonly memory: { readonly idle: number; readonly after: number };
}

/** The part of the report that is about whole pods, in lines. */
export function renderPods({ podsAtOnce, builtin, executed, memory }: PodReport): string[] {
  return [
    `a whole pod: default network and macvlan, API calls included      p50 ms   p99 ms`,
    podRow('one at a time: bridge, built in', builtin.oneAtATime.add),
    podRow('               aws-cni of the playground, executed', executed.oneAtATime.add),
    '                 Multus 4.3, measured elsewhere                80 to 110',
    podRow('DEL            bridge, built in', builtin.oneAtATime.delete),
    podRow('               aws-cni of the playground, executed', executed.oneAtATime.delete),
    '',
    `${podsAtOnce} pods at once                                 per second   p50 ms   p99 ms`,
    stormRow('ADD  bridge, built in', builtin.atOnce.podsPerSecond, builtin.atOnce.add),
    stormRow('     aws-cni of the playground, executed', executed.atOnce.podsPerSecond, executed.atOnce.add),
    '       Multus 4.3, measured elsewhere              26  2700.00',
    stormRow('DEL  bridge, built in', builtin.atOnce.deletesPerSecond, builtin.atOnce.delete),
    stormRow('     aws-cni of the playground, executed', executed.atOnce.deletesPerSecond, executed.atOnce.delete),
    '',
    'requests to the API server for each pod            before the answer    in all',
    requestRow('bridge, built in', builtin),
    requestRow('aws-cni of the playground, executed', executed),
    '  Multus 4.3, measured elsewhere                                       3 to 4',
    '',
    `processor time in ms for each of ${podsAtOnce} pods at once, events included`,
    `  bridge, built in: ${cpu(builtin.atOnce.cpu)}`,
    `  aws-cni, executed: ${cpu(executed.atOnce.cpu)}`,
    "  (the playground's aws-cni is a program for Node: its start is nearly all of its time)",
    '',
    `the daemon's memory (RSS): ${memory.idle.toFixed(1)} MB idle, ${memory.after.toFixed(1)} MB after these pods; ` +
      'Multus 4.3, measured elsewhere: 64 MB',
  ];
}

function cpu({ daemon, executed, shim, api, launcher }: CpuPerPod): string {
  const parts = { daemon, 'executed by it': executed, shim, API: api, launcher };
  return Object.entries(parts)
    .map(([who, milliseconds]) => `${who} ${milliseconds.toFixed(1)}`)
    .join(', ');
}

const podRow = (what: string, { p50, p99 }: Summary): string => `  ${what.padEnd(60)}${figure(p50)}${figure(p99)}`;

const stormRow = (what: string, perSecond: number, { p50, p99 }: Summary): string =>
  `  ${what.padEnd(43)}${perSecond.toFixed(0).padStart(8)}${figure(p50)}${figure(p99)}`;

const requestRow = (what: string, { oneAtATime }: PodFigures): string =>
  `  ${what.padEnd(48)}${oneAtATime.requestsBeforeAnswer.toFixed(2).padStart(18)}${oneAtATime.requests.toFixed(2).padStart(10)}`;

const figure = (value: number): string => value.toFixed(2).padStart(9);
