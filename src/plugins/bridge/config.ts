import { z } from 'zod';
import { requireKnownArgs } from '../../cni/args.ts';
import { oncePerConfig } from '../../cni/once.ts';
import type { PluginCall } from '../../cni/plugin.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { interfaceNameProblem } from '../../cni/validate.ts';
import { interfacePluginKeys } from '../ipam.ts';
import { macAddress, macArgument } from '../mac-address.ts';
import { masqueradeKeys } from '../masquerade.ts';
import { type TrunkItem, trunkVlans } from './vlans.ts';

const vlanId = z.int().min(1, 'expected a VLAN ID from 1 to 4094').max(4094, 'expected a VLAN ID from 1 to 4094');

/** One VLAN, or all from one to another. */
const trunkItem: z.ZodType<TrunkItem> = z
  .object({ minID: vlanId.optional(), maxID: vlanId.optional(), id: vlanId.optional() })
  .superRefine(({ minID, maxID }, context) => {
    const together = 'minID and maxID should be configured simultaneously';
    if (minID === undefined && maxID !== undefined) context.addIssue(`${together}, minID is missing`);
    if (minID !== undefined && maxID === undefined) context.addIssue(`${together}, maxID is missing`);
    if (minID !== undefined && maxID !== undefined && maxID < minID) {
      context.addIssue(`minID ${minID} is greater than maxID ${maxID}`);
    }
  });

const mac = z.object({ mac: macAddress.optional() }).default({});
const vlanLimits = 'expected a VLAN ID from 1 to 4094, or 0 for none';

const schema = z
  .object({
    ...interfacePluginKeys,
    ...masqueradeKeys,
    bridge: z.string('expected the name of a bridge').default('cni0'),
    /** The bridge has the address of the gateway. */
    isGateway: z.boolean().default(false),
    /** And is the way to everywhere. */
    isDefaultGateway: z.boolean().default(false),
    /** An address of the bridge that is in the way of the gateway's goes. */
    forceAddress: z.boolean().default(false),
    /** Of the veth, and of a bridge that has to be made. 0: the kernel's default. */
    mtu: z.int().min(0).default(0),
    hairpinMode: z.boolean().default(false),
    promiscMode: z.boolean().default(false),
    /** The VLAN of what the container sends and gets without a tag. 0: the bridge's default. */
    vlan: z.int(vlanLimits).min(0, vlanLimits).max(4094, vlanLimits).default(0),
    /** The VLANs of what it sends and gets with one. */
    vlanTrunk: z.array(trunkItem).max(4094).optional(),
    /** The container stays in the VLAN that the bridge puts new ports in, too. */
    preserveDefaultVlan: z.boolean().default(false),
    macspoofchk: z.boolean().default(false),
    /** Duplicate address detection in the container. */
    enabledad: z.boolean().default(false),
    /** The container's interface stays down. */
    disableContainerInterface: z.boolean().default(false),
    /** Nothing goes to other isolated ports. */
    portIsolation: z.boolean().default(false),
    args: z.object({ cni: mac }).default({ cni: {} }),
    runtimeConfig: mac,
  })
  .superRefine((config, context) => {
    const problem = interfaceNameProblem(config.bridge);
    if (problem !== undefined) context.addIssue({ code: 'custom', path: ['bridge'], message: nameExpectation });
    if (config.hairpinMode && config.promiscMode) {
      context.addIssue('cannot set hairpin mode and promiscuous mode at the same time');
    }
    if (config.disableContainerInterface && config.ipam.type !== '') {
      context.addIssue('cannot use IPAM when DisableContainerInterface flag is set');
    }
    const gateway = vlanGatewayName(config.bridge, config.vlan);
    const isNeeded = problem === undefined && config.vlan !== 0 && hasGateway(config);
    if (isNeeded && interfaceNameProblem(gateway) !== undefined) {
      const message = `the gateway of VLAN ${config.vlan} would be interface "${gateway}", a name longer than 15 bytes`;
      context.addIssue({ code: 'custom', path: ['bridge'], message });
    }
  });

const nameExpectation = 'expected the name of a bridge, up to 15 bytes without / or : or spaces';

export type BridgeConfig = ReturnType<typeof parseBridge>;

const keysOf = oncePerConfig((config) => {
  const { vlanTrunk, ...keys } = parsePluginConfig(schema, config);
  return {
    ...keys,
    isGateway: hasGateway(keys),
    trunk: trunkVlans(vlanTrunk ?? [], keys.vlan),
    /** A bridge that has to be made is one that tells VLANs apart. */
    filtersVlans: keys.vlan !== 0 || vlanTrunk !== undefined,
  };
});

/** The MAC address is the runtime's, or that of args.cni, or that of CNI_ARGS. */
export function parseBridge({ config, attachment }: Pick<PluginCall, 'config' | 'attachment'>) {
  requireKnownArgs(attachment.args, ['MAC']);
  const { args, runtimeConfig, ...keys } = keysOf(config);
  return { ...keys, mac: runtimeConfig.mac ?? args.cni.mac ?? macArgument(attachment.args) };
}

interface GatewayKeys {
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly ipam: { readonly type: string };
}

/** Without addresses, there is no gateway. */
const hasGateway = ({ isGateway, isDefaultGateway, ipam }: GatewayKeys): boolean =>
  ipam.type !== '' && (isGateway || isDefaultGateway);

/** The interface of the node that has the gateway's address in a VLAN. */
export const vlanGatewayName = (bridge: string, vlan: number): string => `${bridge}.${vlan}`;

/** All that DEL needs: what is wrong with the rest of a configuration must not keep it from releasing anything. */
export const deleteSchema = z.object({
  ipMasq: z.boolean().catch(false).default(false),
  macspoofchk: z.boolean().catch(false).default(false),
});
