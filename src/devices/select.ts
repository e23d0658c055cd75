import type { Resource } from './config.ts';
import type { FunctionRange, Selector } from './config-schema.ts';
import type { Device, Hardware } from './discover.ts';

/** A device, and what becomes of it. */
export interface Candidate {
  readonly device: Device;
  /** What takes it; undefined where it is left out. */
  readonly taken?: { readonly resource: Resource; readonly selector: Selector };
  /** Why it is left out, as a sentence. */
  readonly why?: string;
  /** Whether it is left out for what the node uses it for, whatever the configuration says. */
  readonly isReserved?: boolean;
}

/** Resources that are told of where none takes a device; a node has a few at most. */
const maxTold = 4;

/** Gives each device to the first resource that selects it. */
export function select(resources: readonly Resource[], hardware: Hardware): Candidate[] {
  return hardware.devices.map((device) => {
    const use = useOf(device);
    if (use !== undefined) return { device, why: use, isReserved: true };
    if (!device.isBound || device.driver === undefined) return { device, why: 'it has no driver' };
    const misses: string[] = [];
    for (const resource of resources) {
      if (resource.deviceType !== device.type) continue;
      const reasons: string[] = [];
      for (const selector of resource.selectors) {
        const reason = mismatch(device, selector, hardware);
        if (reason === undefined) return { device, taken: { resource, selector } };
        reasons.push(reason);
      }
      misses.push(`${resource.fullName}: ${[...new Set(reasons)].join('; or ')}`);
    }
    if (misses.length === 0) return { device, why: `no resource is of deviceType ${device.type}` };
    const more = misses.length > maxTold ? [`and ${misses.length - maxTold} more`] : [];
    return { device, why: [...misses.slice(0, maxTold), ...more].join('. ') };
  });
}

/** What the node itself needs a device for. */
function useOf({ defaultRoute, vfs }: Device): string | undefined {
  if (defaultRoute !== undefined) return `the default route leads through its interface ${defaultRoute}`;
  if (vfs > 0) return `it is the physical function of ${vfs} VF${vfs === 1 ? '' : 's'}, which may be taken instead`;
  return undefined;
}

/** Of what a list of values is, which list, and what a device has. */
const lists: readonly (readonly [what: string, wanted: (selector: Selector) => readonly string[], has: Has])[] = [
  ['vendor', ({ vendors }) => vendors, ({ vendor }) => vendor],
  ['device', ({ devices }) => devices, ({ device }) => device],
  ['driver', ({ drivers }) => drivers, ({ driver }) => driver],
  ['PCI address', ({ pciAddresses }) => pciAddresses, ({ id }) => id],
  ['acpi_index', ({ acpiIndexes }) => acpiIndexes, ({ acpiIndex }) => acpiIndex],
  ['link type', ({ linkTypes }) => linkTypes, ({ linkType }) => linkType],
  ['partition key', ({ pKeys }) => pKeys, ({ pKey }) => pKey],
  ['DDP profile', ({ ddpProfiles }) => ddpProfiles, ({ ddpProfile }) => ddpProfile],
  ['auxiliary type', ({ auxTypes }) => auxTypes, ({ auxType }) => auxType],
];

type Has = (device: Device) => string | undefined;

/** Why a selector does not match a device; undefined when it does. */
function mismatch(device: Device, selector: Selector, { hasVhostNet }: Hardware): string | undefined {
  for (const [what, wantedOf, has] of lists) {
    const wanted = wantedOf(selector);
    if (wanted.length === 0) continue;
    const found = has(device);
    if (found === undefined || !wanted.includes(found)) {
      return `its ${what} is ${found ?? 'unknown'}, not ${wanted.join(' or ')}`;
    }
  }
  return (
    outOfRange('physical function', selector.pfNames, device.pf.interface, device) ??
    outOfRange('root device', selector.rootDevices, device.pf.address, device) ??
    lacks(device, selector, hasVhostNet)
  );
}

function outOfRange(
  what: string,
  wanted: readonly FunctionRange[],
  found: string | undefined,
  { index, isVf }: Device,
): string | undefined {
  if (wanted.length === 0) return undefined;
  const texts = wanted.map(({ text }) => text).join(' or ');
  const ofIt = wanted.filter(({ of }) => of.toLowerCase() === found?.toLowerCase());
  if (ofIt.length === 0) return `its ${what} is ${found ?? 'unknown'}, not ${texts}`;
  const isIn = ofIt.some(
    ({ ranges }) => ranges?.some(([first, last]) => index !== undefined && index >= first && index <= last) ?? true,
  );
  if (isIn) return undefined;
  const number = index === undefined ? 'no VF' : `${isVf ? 'VF' : 'number'} ${index}`;
  return `it is ${number} of ${found}, not one of ${texts}`;
}

function lacks({ rdma, vdpa }: Device, selector: Selector, hasVhostNet: boolean): string | undefined {
  const { isRdma, vdpaType, needVhostNet } = selector;
  if (isRdma && rdma === undefined) return 'it has no RDMA device';
  if (vdpaType !== undefined && vdpa?.type !== vdpaType) {
    return vdpa === undefined
      ? 'it has no vDPA device'
      : `its vDPA device is of type ${vdpa.type ?? 'none'}, not ${vdpaType}`;
  }
  if (needVhostNet && !hasVhostNet) return 'it is to come with /dev/vhost-net and /dev/net/tun, which the node lacks';
  return undefined;
}
