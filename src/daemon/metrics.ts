import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { AttachmentReport } from '../attach/release.ts';

/** Seconds. From what a netlink exchange takes to what makes a kubelet give up. */
const buckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export interface DeviceCount {
  readonly resource: string;
  readonly health: string;
  readonly count: number;
}

/** What the daemon counts, for Prometheus. */
export class Metrics {
  readonly registry = new Registry();
  readonly #calls: Counter<'command' | 'plugin' | 'code'>;
  readonly #callSeconds: Histogram<'command' | 'plugin'>;
  readonly #attachments: Counter<'command' | 'network' | 'plugin' | 'outcome'>;
  readonly #attachmentSeconds: Histogram<'command' | 'network' | 'plugin'>;
  readonly #spooled: Gauge<'command'>;
  readonly #devices: Gauge<'resource' | 'health'>;
  readonly #allocations: Counter<'resource' | 'outcome'>;
  #countDevices: () => readonly DeviceCount[] = () => [];
  #countSpooled: () => Readonly<Record<string, number>> = () => ({});

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#calls = new Counter({
      name: 'plexus_calls_total',
      help: 'Calls of the runtime, by CNI command, plugin and CNI error code (0 is success).',
      labelNames: ['command', 'plugin', 'code'],
      registers,
    });
    this.#callSeconds = new Histogram({
      name: 'plexus_call_seconds',
      help: 'From the request frame to the answer.',
      labelNames: ['command', 'plugin'],
      buckets,
      registers,
    });
    this.#attachments = new Counter({
      name: 'plexus_attachments_total',
      help: 'Attachments made (ADD) and released (DEL), by network, plugin and outcome.',
      labelNames: ['command', 'network', 'plugin', 'outcome'],
      registers,
    });
    this.#attachmentSeconds = new Histogram({
      name: 'plexus_attachment_seconds',
      help: 'Time of one attachment, its whole chain of plugins.',
      labelNames: ['command', 'network', 'plugin'],
      buckets,
      registers,
    });
    this.#spooled = new Gauge({
      name: 'plexus_spooled_requests',
      help: 'Requests that the shim left while no daemon answered, and that wait to be carried out, by CNI command.',
      labelNames: ['command'],
      registers,
      collect: () => {
        for (const [command, count] of Object.entries(this.#countSpooled())) this.#spooled.set({ command }, count);
      },
    });
    this.#devices = new Gauge({
      name: 'plexus_devices',
      help: 'Devices that are offered to kubelet, by resource and health.',
      labelNames: ['resource', 'health'],
      registers,
      collect: () => {
        this.#devices.reset();
        for (const { resource, health, count } of this.#countDevices()) this.#devices.set({ resource, health }, count);
      },
    });
    this.#allocations = new Counter({
      name: 'plexus_device_allocations_total',
      help: 'Containers that kubelet asked devices for, by resource and outcome.',
      labelNames: ['resource', 'outcome'],
      registers,
    });
  }

  /** @param count Asked whenever metrics are read: how many devices of each resource there are, by their health. */
  countDevices(count: () => readonly DeviceCount[]): void {
    this.#countDevices = count;
  }

  allocation(resource: string, isGiven: boolean): void {
    this.#allocations.inc({ resource, outcome: isGiven ? 'success' : 'failure' });
  }

  /** @param count Asked whenever metrics are read: how many requests wait, by CNI command. */
  countSpooled(count: () => Readonly<Record<string, number>>): void {
    this.#countSpooled = count;
  }

  /** @param code A CNI error code; 0 for success. */
  call(command: string, plugin: string, code: number, milliseconds: number): void {
    this.#calls.inc({ command, plugin, code });
    this.#callSeconds.observe({ command, plugin }, milliseconds / 1000);
  }

  attachment({ command, planned, plugin, milliseconds, error }: AttachmentReport): void {
    const { network } = planned;
    this.#attachments.inc({ command, network, plugin, outcome: error === undefined ? 'success' : 'failure' });
    this.#attachmentSeconds.observe({ command, network, plugin }, milliseconds / 1000);
  }
}
