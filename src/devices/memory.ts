import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writeAtomically } from '../linux/atomic-file.ts';
import type { Device, Hardware } from './discover.ts';

/*
 * What a pod takes with it: the interface of a device, and with it its name and type, and its RDMA devices, are no longer
 * seen on the node while a pod has them. A resource that selects by them would lose a device for being used, and a
 * daemon that starts meanwhile would never offer it. So what was seen last counts.
 */

const fact = z.object({
  vendor: z.string(),
  device: z.string(),
  interface: z.string().optional(),
  linkType: z.string().optional(),
  pKey: z.string().optional(),
  rdma: z.object({ names: z.array(z.string()), files: z.array(z.string()) }).optional(),
});

const schema = z.record(z.string(), fact);

/** By the ids of devices. */
export type Memory = Readonly<z.infer<typeof schema>>;

/** Of a file that is not there, or that cannot be read, nothing is remembered. */
export async function readMemory(file: string): Promise<Memory> {
  try {
    return schema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return {};
  }
}

/** @throws {Error} of the disk. */
export async function writeMemory(file: string, memory: Memory): Promise<void> {
  await writeAtomically(file, JSON.stringify(memory));
}

/** The devices with what was seen of them last. One whose place another has taken is forgotten. */
export function recall(hardware: Hardware, memory: Memory): Hardware {
  const devices = hardware.devices.map((device): Device => {
    const known = factOf(device, memory);
    // All VFs of a physical function stand and fall with it, and it may be seen no more than they are.
    const name = device.pf.interface ?? memory[device.pf.address]?.interface;
    const isHidden = known !== undefined && device.interfaces.length === 0;
    if (!isHidden && name === device.pf.interface && (device.rdma !== undefined || known?.rdma === undefined))
      return device;
    return {
      ...device,
      pf: { address: device.pf.address, interface: name },
      ...(isHidden && { linkType: known.linkType, pKey: known.pKey }),
      rdma: device.rdma ?? known?.rdma,
    };
  });
  return { ...hardware, devices };
}

function factOf({ id, vendor, device }: Device, memory: Memory): Memory[string] | undefined {
  const known = memory[id];
  return known?.vendor === vendor && known.device === device ? known : undefined;
}

/**
 * What is to be remembered of devices as they were recalled.
 *
 * @returns `memory` itself when that is the same.
 */
export function remember({ devices }: Hardware, memory: Memory): Memory {
  const facts: Record<string, Memory[string]> = {};
  let count = 0;
  let isOther = false;
  for (const { id, vendor, device, interfaces, linkType, pKey, rdma, pf } of devices) {
    const before = memory[id];
    const name = id === pf.address ? pf.interface : (interfaces[0] ?? before?.interface);
    if (name === undefined && rdma === undefined) continue;
    const known = before?.vendor === vendor && before.device === device && before.interface === name;
    const isSame = known && before.linkType === linkType && before.pKey === pKey && isSameRdma(before.rdma, rdma);
    facts[id] = isSame
      ? before
      : {
          vendor,
          device,
          interface: name,
          linkType,
          pKey,
          rdma: rdma && { names: [...rdma.names], files: [...rdma.files] },
        };
    isOther ||= !isSame;
    count++;
  }
  return isOther || count !== Object.keys(memory).length ? facts : memory;
}

const isSameRdma = (one: Device['rdma'], other: Device['rdma']): boolean =>
  one?.names.join() === other?.names.join() && one?.files.join() === other?.files.join();
