import { z } from 'zod';
import { CniError, ErrorCode } from '../../cni/error.ts';
import type { ConfigCall } from '../../cni/plugin.ts';
import type { ResultDNS } from '../../cni/result.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { isDeviceName } from '../../linux/sysfs.ts';
import { type VfChanges, vfLinkStates, vlanProtocols } from '../../linux/vf.ts';
import { interfacePluginKeys } from '../ipam.ts';
import { macAddress, macArgument } from '../mac-address.ts';

/** Mbit/s, as struct ifla_vf_rate has room for. */
const rate = z.int('expected a whole number of Mbit/s; 0 for no limit').min(0).max(0xffffffff).optional();

/** Empty counts as absent, as with all texts here. */
const onOff = z
  .enum(['on', 'off', ''])
  .transform((value) => (value === '' ? undefined : value === 'on'))
  .optional();

const expectedDevice = 'expected the PCI address of a virtual function, such as 0000:03:02.1';
const deviceId = z
  .string(expectedDevice)
  .refine((id) => id === '' || isDeviceName('pci', id), expectedDevice)
  .transform((id) => id.toLowerCase() || undefined)
  .optional();

const schema = z
  .object({
    deviceID: deviceId,
    vlan: z.int().min(0).max(4094).optional(),
    vlanQoS: z.int().min(0).max(7).optional(),
    vlanProto: z
      .string()
      .transform((text) => text.toLowerCase())
      .pipe(z.enum(['802.1q', '802.1ad', ''], 'expected 802.1q or 802.1ad'))
      .transform((text) => text || undefined)
      .optional(),
    mac: macAddress.optional(),
    /** 0: as it is. */
    mtu: z.int().min(0).max(0x7fffffff).optional(),
    min_tx_rate: rate,
    max_tx_rate: rate,
    spoofchk: onOff,
    trust: onOff,
    link_state: z
      .enum([...vfLinkStates, ''])
      .transform((state) => state || undefined)
      .optional(),
    dns: interfacePluginKeys.dns,
    runtimeConfig: z.object({ deviceID: deviceId, mac: macAddress.optional() }).default({}),
  })
  .superRefine(({ vlan, vlanQoS, vlanProto, min_tx_rate: min = 0, max_tx_rate: max = 0 }, context) => {
    const refuse = (key: string, message: string): void => context.addIssue({ code: 'custom', path: [key], message });
    if (vlan === undefined && vlanQoS !== undefined) refuse('vlanQoS', 'is of a VLAN: give "vlan" too');
    if (vlan === undefined && vlanProto !== undefined) refuse('vlanProto', 'is of a VLAN: give "vlan" too');
    if (vlan === 0 && vlanQoS) refuse('vlanQoS', 'without a VLAN (vlan 0) there is no priority');
    if (vlan === 0 && vlanProto === '802.1ad') refuse('vlanProto', 'without a VLAN (vlan 0) there is no 802.1ad');
    if (max > 0 && min > max) refuse('min_tx_rate', `expected at most max_tx_rate, ${max}`);
  });

export interface SriovConfig {
  /** The virtual function's PCI address. */
  readonly deviceId: string;
  /** What the physical function is to give it; absent what is to stay as it is. */
  readonly attributes: VfChanges;
  readonly mtu: number | undefined;
  readonly dns: ResultDNS;
}

/**
 * Reads a configuration. The device that a device plugin chose counts before the configuration's own, and the runtime's MAC
 * address before that of CNI_ARGS, and that before the configuration's.
 *
 * @throws {CniError} 7, also where no device is named.
 */
export function parseSriov({ config, attachment }: ConfigCall): SriovConfig {
  const parsed = parsePluginConfig(schema, config);
  const { vlan, vlanQoS: qos = 0, vlanProto = '802.1q', min_tx_rate: min, max_tx_rate: max, runtimeConfig } = parsed;
  const deviceId = runtimeConfig.deviceID ?? parsed.deviceID;
  if (deviceId === undefined) {
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `network "${config.name}": deviceID: ${expectedDevice}, found nothing`,
      "name a resource in the NetworkAttachmentDefinition's annotation k8s.v1.cni.cncf.io/resourceName and have the pod " +
        'request it, or give "deviceID"',
    );
  }
  const attributes: VfChanges = {
    mac: runtimeConfig.mac ?? macArgument(attachment.args) ?? parsed.mac,
    vlan: vlan === undefined ? undefined : { id: vlan, qos, protocol: vlanProtocols[vlanProto] },
    rate: min === undefined && max === undefined ? undefined : { min: min ?? 0, max: max ?? 0 },
    spoofCheck: parsed.spoofchk,
    trust: parsed.trust,
    linkState: parsed.link_state,
  };
  return { deviceId, attributes, mtu: parsed.mtu || undefined, dns: parsed.dns };
}
