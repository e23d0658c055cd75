import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { Changes } from '../src/devices/changes.ts';
import { parseResourceConfig } from '../src/devices/config.ts';
import { discover } from '../src/devices/discover.ts';
import { recall, remember } from '../src/devices/memory.ts';
import { select } from '../src/devices/select.ts';
import { type Pci, Sysfs } from '../test/devices/sysfs.ts';

/*
 * `node bench/devices.ts`: how long a node with 64 physical functions of 128 VFs each is looked at, in a sysfs of our own,
 * and what that takes of memory. With the daemon's own settings of V8 (src/cli/daemon.ts).
 */

const flags = ['--semi-space-growth-factor=1', '--heap-growing-percent=10', '--no-opt', '--no-maglev'];
const [cards, vfs] = [64, 128];

/** Of the kernel's files in each device's directory, so many more than are read. */
const more = Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`attribute${index}`, '']));

const config = {
  resourceList: [
    { resourceName: 'first', selectors: { pfNames: ['p0#0-63'] } },
    { resourceName: 'rest', selectors: { vendors: ['15b3'], drivers: ['mlx5_core'] } },
  ],
};

const hex = (number: number): string => number.toString(16).padStart(2, '0');

function* devices(): Generator<Pci> {
  for (let card = 0; card < cards; card++) {
    const at = (device: number, port: number): string => `0000:${hex(card + 1)}:${hex(device)}.${port}`;
    const shared = { driver: 'mlx5_core', numa: card & 1, files: more };
    yield { ...shared, address: at(0, 0), ids: '15b3:1017', net: { [`p${card}`]: {} } };
    for (let vf = 0; vf < vfs; vf++) {
      const net = { [`p${card}v${vf}`]: {} };
      yield { ...shared, address: at(1 + (vf >> 3), vf & 7), ids: '15b3:1018', net, vfOf: [at(0, 0), vf] };
    }
  }
}

const megabytes = (): number => process.memoryUsage.rss() / 1e6;

/** Milliseconds that something takes, of the clock and of the processor. */
async function timed<T>(work: () => Promise<T> | T): Promise<{ value: T; clock: number; cpu: number }> {
  const [begin, before] = [performance.now(), process.cpuUsage()];
  const value = await work();
  const { user, system } = process.cpuUsage(before);
  return { value, clock: performance.now() - begin, cpu: (user + system) / 1000 };
}

const show = ({ clock, cpu }: { readonly clock: number; readonly cpu: number }): string =>
  `${clock.toFixed(0)} ms (${cpu.toFixed(0)} of the processor)`;

for (const flag of flags) setFlagsFromString(flag);
await using sysfs = await Sysfs.make();
for (const device of devices()) await sysfs.add(device);
const { root } = sysfs;
const { resources } = parseResourceConfig(JSON.stringify(config), 'config.json');
const changes = new Changes(root);
await sleep(1_000);
const before = megabytes();
let memory = {};
for (let round = 1; round <= 4; round++) {
  const look = await timed(() => changes.fingerprint());
  const read = await timed(() => discover({ root, defaultInterfaces: [] }));
  const chosen = await timed(() => {
    const hardware = recall(read.value, memory);
    memory = remember(hardware, memory);
    return select(resources, hardware).filter(({ taken }) => taken !== undefined).length;
  });
  await setImmediate();
  const grown = (megabytes() - before).toFixed(0);
  console.log(
    `${read.value.devices.length} devices: looked for changes in ${show(look)}, read in ${show(read)}, ` +
      `${chosen.value} selected in ${show(chosen)}; resident memory +${grown} MB`,
  );
}
