import { z } from 'zod';
import type { JsonValue } from '../cni/json.ts';
import { isDeviceName } from '../linux/sysfs.ts';

/* The keys of the sriov-network-device-plugin's config.json (its docs/ and README.md, version 3.11). */

export const deviceTypes = ['netDevice', 'accelerator', 'auxNetDevice'] as const;
export type DeviceType = (typeof deviceTypes)[number];

/** Some functions of a device: all of them where there are no ranges. */
export interface FunctionRange {
  /** An interface, or a PCI address. */
  readonly of: string;
  readonly ranges?: readonly (readonly [first: number, last: number])[];
  /** As it was written, for messages. */
  readonly text: string;
}

const words = z.array(z.string('expected text'), 'expected a list of texts').default([]);

const lower = words.transform((texts) => texts.map((text) => text.toLowerCase()));

/** As `sysfs` has them, without 0x before. */
const hexIds = z
  .array(z.string().regex(/^(0x)?[0-9a-f]{1,4}$/i, 'expected four hexadecimal digits, such as "8086"'))
  .default([])
  .transform((texts) => texts.map((text) => text.toLowerCase().replace(/^0x/, '').padStart(4, '0')));

const address = z.string().refine((text) => isDeviceName('pci', text), {
  error: 'expected a PCI address such as "0000:03:02.1"',
});

const addresses = z
  .array(address)
  .default([])
  .transform((texts) => texts.map((text) => text.toLowerCase()));

const functionsOf = (expected: string, isName: (text: string) => boolean) =>
  z
    .array(
      z.string().transform((text, context): FunctionRange => {
        const [of = '', ranges, ...more] = text.split('#');
        const parsed = ranges?.split(',').map((range) => /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range.trim()));
        if (!isName(of) || more.length > 0 || parsed?.includes(null)) {
          context.addIssue({ code: 'custom', message: `expected ${expected}, with "#0-3,7" behind it for some VFs` });
          return z.NEVER;
        }
        const pairs = parsed?.flatMap((match) =>
          match ? [[Number(match[1]), Number(match[2] ?? match[1])] as const] : [],
        );
        return { of, text, ...(pairs && { ranges: pairs }) };
      }),
    )
    .default([]);

/** All must match; a list matches by any of its values, and by none where it is empty. */
export const selectorSchema = z.looseObject({
  vendors: hexIds,
  devices: hexIds,
  drivers: words,
  pciAddresses: addresses,
  /** Of the firmware. */
  acpiIndexes: words,
  /** Interfaces of physical functions, and of devices that are no VF. */
  pfNames: functionsOf('the name of an interface', (text) => /^[^/\s#]{1,15}$/.test(text)),
  /** PCI addresses of physical functions, and of devices that are no VF. */
  rootDevices: functionsOf('a PCI address', (text) => isDeviceName('pci', text)),
  /** `ether`, `infiniband`. */
  linkTypes: lower,
  /** Of Intel's dynamic device personalization, as devlink has them. */
  ddpProfiles: words,
  pKeys: lower,
  isRdma: z.boolean().default(false),
  needVhostNet: z.boolean().default(false),
  vdpaType: z.enum(['vhost', 'virtio'], { error: 'expected vhost or virtio' }).optional(),
  /** The middle of the name of an auxiliary device, `driver.type.number`. */
  auxTypes: words,
});

export type Selector = Readonly<z.infer<typeof selectorSchema>>;

const name = z
  .string('expected a name')
  .regex(/^[a-z0-9]([a-z0-9_]{0,61}[a-z0-9])?$/i, 'expected a name of letters, digits and _');

export const resourceSchema = z.looseObject({
  resourceName: name,
  resourcePrefix: z
    .string('expected the name of a domain')
    .regex(/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.|$))*$/, 'expected the name of a domain, such as intel.com')
    .max(253)
    .optional(),
  deviceType: z
    .enum(deviceTypes, { error: `expected ${deviceTypes.join(', ').replace(/, (\w+)$/, ' or $1')}` })
    .default('netDevice'),
  excludeTopology: z.boolean().default(false),
  additionalInfo: z.record(z.string(), z.record(z.string(), z.string())).default({}),
  selectors: z
    .custom<JsonValue>((value) => typeof value === 'object', { error: 'expected an object, or a list of some' })
    .optional(),
});

const common = ['vendors', 'devices', 'drivers'];
const functions = ['pfNames', 'rootDevices', 'linkTypes', 'isRdma', 'needVhostNet'];

const keys: Readonly<Record<DeviceType, readonly string[]>> = {
  netDevice: [...common, 'pciAddresses', 'acpiIndexes', ...functions, 'ddpProfiles', 'pKeys', 'vdpaType'],
  accelerator: [...common, 'pciAddresses', 'acpiIndexes'],
  auxNetDevice: [...common, ...functions, 'auxTypes'],
};

/** The keys of selectors that concern devices of a type. */
export const keysOf = (type: DeviceType): readonly string[] => keys[type];
