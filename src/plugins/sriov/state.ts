import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CniError } from '../../cni/error.ts';
import type { JsonValue } from '../../cni/json.ts';
import type { Attachment, PluginCall } from '../../cni/plugin.ts';
import { parseWith } from '../../cni/schema.ts';
import { isUnfinished, removeFile, writeAtomically } from '../../linux/atomic-file.ts';
import { isDeviceName } from '../../linux/sysfs.ts';
import { type VfChanges, vfLinkStates, vlanProtocols } from '../../linux/vf.ts';

/*
 * What a virtual function was before an attachment changed it, in the files of the sriov-cni project: a node can be switched
 * from one to the other while its pods run, for each gives back what the other changed. A file of /var/lib/cni/sriov is the
 * configuration, which says what was changed, with what was there before in OrigVfState; a file of its directory pci has a
 * device's address as its name, and the path of the namespace that has the device in it.
 */

/** What an attachment changed, and how it was. */
export interface SavedState {
  /** Name of the network. */
  readonly network: string;
  readonly deviceId: string;
  /** The name of the physical function's interface, and the device's number there: for the project, which goes by them. */
  readonly master: string;
  readonly number: number;
  /** The interface's name on the node; undefined where it had none. */
  readonly hostName: string | undefined;
  readonly alias: string | undefined;
  /** The interface's own address and MTU, where it had one. */
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  /** Whether the interface was up. Where a pod has had it, it comes back down all the same. */
  readonly isUp: boolean;
  /** Those of the physical function's attributes that were changed, as they were. */
  readonly attributes: VfChanges;
}

const given = z.unknown().optional();

const schema = z.object({
  name: z.string().default(''),
  deviceID: z.string().refine((id) => isDeviceName('pci', id)),
  Master: z.string().default(''),
  VFID: z.int().min(0).default(0),
  mac: z.string().optional(),
  vlan: given,
  min_tx_rate: given,
  max_tx_rate: given,
  spoofchk: z.string().optional(),
  trust: z.string().optional(),
  link_state: z.string().optional(),
  OrigVfState: z.object({
    HostIFName: z
      .string()
      .regex(/^[^/\s]{0,15}$/)
      .default(''),
    EffectiveMAC: z.string().default(''),
    MTU: z.int().min(0).default(0),
    AdminMAC: z.string().default(''),
    Vlan: z.int().min(0).default(0),
    VlanQoS: z.int().min(0).default(0),
    /** 0 in the files of releases that knew of 802.1Q only. */
    VlanProto: z.int().min(0).default(0),
    MinTxRate: z.int().min(0).default(0),
    MaxTxRate: z.int().min(0).default(0),
    SpoofChk: z.boolean().default(false),
    Trust: z.boolean().default(false),
    /** The project's own files have none of these two. */
    Alias: z.string().default(''),
    Up: z.boolean().default(false),
    LinkState: z.int().min(0).max(2).default(0),
  }),
});

/** The files of a node's virtual functions. */
export class StateFiles {
  readonly #directory: string;

  /** @param directory Absolute. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @returns undefined where the attachment changed nothing, or nothing is known of it. */
  read(attachment: Pick<Attachment, 'containerId' | 'ifName'>): Promise<SavedState | undefined> {
    return readState(this.#path(attachment));
  }

  /**
   * Notes who is to have the device, and what is about to change; on the disk when this returns. What is noted of a device
   * nobody has would be given back while the next has it: there is no moment without the holder.
   */
  async keep({ attachment, config }: Pick<PluginCall, 'attachment' | 'config'>, state: SavedState): Promise<void> {
    await mkdir(join(this.#directory, 'pci'), { recursive: true, mode: 0o700 });
    const { ipam = {} } = config;
    const file = { cniVersion: config.cniVersion, type: config.type, ipam, ...encode(state, attachment.ifName) };
    await writeAtomically(this.#claim(state.deviceId), attachment.netns);
    await writeAtomically(this.#path(attachment), JSON.stringify(file));
  }

  /** Removes an attachment's files. */
  async remove(attachment: Pick<Attachment, 'containerId' | 'ifName'>, deviceId: string): Promise<void> {
    await this.#remove(this.#path(attachment), deviceId);
  }

  /** The path of the namespace that has a device; undefined where none has. */
  holderOf(deviceId: string): Promise<string | undefined> {
    return readIfAny(this.#claim(deviceId));
  }

  /** What is noted of all attachments, each with the means to remove it. */
  async list(): Promise<readonly { id: string; state: SavedState; remove(): Promise<void> }[]> {
    const entries = await readdir(this.#directory, { withFileTypes: true }).catch(noneIfMissing);
    const files = entries.filter((entry) => entry.isFile() && !isUnfinished(entry.name)).map(({ name }) => name);
    const states = await Promise.all(
      files.map(async (id) => ({ id, state: await readState(join(this.#directory, id)) })),
    );
    return states.flatMap(({ id, state }) => {
      const remove = (deviceId: string) => this.#remove(join(this.#directory, id), deviceId);
      return state === undefined ? [] : [{ id, state, remove: () => remove(state.deviceId) }];
    });
  }

  async #remove(path: string, deviceId: string): Promise<void> {
    await removeFile(path);
    await removeFile(this.#claim(deviceId));
  }

  #path(attachment: Pick<Attachment, 'containerId' | 'ifName'>): string {
    return join(this.#directory, idOf(attachment));
  }

  #claim(deviceId: string): string {
    return join(this.#directory, 'pci', deviceId);
  }
}

/** The name of an attachment's file. */
export const idOf = ({ containerId, ifName }: Pick<Attachment, 'containerId' | 'ifName'>): string =>
  `${containerId}-${ifName}`;

/** Which attributes were changed is told by the configuration's keys; what they were set to matters to nobody. */
function encode(
  { network, deviceId, master, number, hostName, alias, mac, mtu, isUp, attributes }: SavedState,
  ifName: string,
): JsonValue & object {
  const { vlan, rate, spoofCheck, trust, linkState } = attributes;
  return {
    name: network,
    deviceID: deviceId,
    DPDKMode: hostName === undefined,
    Master: master,
    VFID: number,
    ContIFNames: ifName,
    ...(attributes.mac !== undefined && { MAC: attributes.mac }),
    ...(vlan !== undefined && { vlan: vlan.id }),
    ...(rate !== undefined && { min_tx_rate: rate.min, max_tx_rate: rate.max }),
    ...(spoofCheck !== undefined && { spoofchk: onOff(spoofCheck) }),
    ...(trust !== undefined && { trust: onOff(trust) }),
    ...(linkState !== undefined && { link_state: linkState }),
    OrigVfState: {
      HostIFName: hostName ?? '',
      EffectiveMAC: mac ?? '',
      MTU: mtu ?? 0,
      AdminMAC: attributes.mac ?? '',
      Vlan: vlan?.id ?? 0,
      VlanQoS: vlan?.qos ?? 0,
      VlanProto: vlan?.protocol ?? 0,
      MinTxRate: rate?.min ?? 0,
      MaxTxRate: rate?.max ?? 0,
      SpoofChk: spoofCheck ?? false,
      Trust: trust ?? false,
      Alias: alias ?? '',
      Up: isUp,
      LinkState: vfLinkStates.indexOf(linkState ?? 'auto'),
    },
  };
}

const onOff = (value: boolean): string => (value ? 'on' : 'off');

/** A file that is torn, as a power cut leaves the project's own, says nothing. */
async function readState(path: string): Promise<SavedState | undefined> {
  const text = await readIfAny(path);
  if (text === undefined) return undefined;
  try {
    return decode(parseWith(schema, JSON.parse(text), path));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof CniError) return undefined;
    throw error;
  }
}

function decode({ OrigVfState: original, name, deviceID, ...changed }: z.output<typeof schema>): SavedState {
  const { HostIFName, EffectiveMAC, MTU, Vlan, VlanQoS, VlanProto, MinTxRate, MaxTxRate } = original;
  const protocol = VlanProto || vlanProtocols['802.1q'];
  const hasRate = changed.min_tx_rate !== undefined || changed.max_tx_rate !== undefined;
  return {
    network: name,
    deviceId: deviceID.toLowerCase(),
    master: changed.Master,
    number: changed.VFID,
    hostName: HostIFName || undefined,
    alias: original.Alias || undefined,
    mac: EffectiveMAC || undefined,
    mtu: MTU || undefined,
    isUp: original.Up,
    attributes: {
      ...(changed.mac && original.AdminMAC && { mac: original.AdminMAC }),
      ...(changed.vlan !== undefined && { vlan: { id: Vlan, qos: VlanQoS, protocol } }),
      ...(hasRate && { rate: { min: MinTxRate, max: MaxTxRate } }),
      ...(changed.spoofchk && { spoofCheck: original.SpoofChk }),
      ...(changed.trust && { trust: original.Trust }),
      ...(changed.link_state && { linkState: vfLinkStates[original.LinkState] ?? 'auto' }),
    },
  };
}

function readIfAny(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
}

function noneIfMissing(error: unknown): [] {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
  throw error;
}
