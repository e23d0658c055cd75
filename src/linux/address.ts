import { formatPrefix, type IP, lastOf, type Prefix } from '../net/ip.ts';
import { AF_UNSPEC, familyCode, familyOf } from './family.ts';
import { ipOf } from './link-kind.ts';
import { type Attribute, Attributes, bytes, u32 } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from './netlink/message.ts';
import { change, dump, type Request } from './netlink/request.ts';

/* Addresses of interfaces: struct ifaddrmsg and IFA_* of linux/if_addr.h, rtnetlink(7). */

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;

const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;

/** An address as the kernel has it. */
export interface InterfaceAddress {
  readonly index: number;
  readonly address: Prefix;
  readonly broadcast: IP | undefined;
  /** enum rt_scope_t of linux/rtnetlink.h. */
  readonly scope: number;
  /** Duplicate address detection has not finished; nothing can be sent from the address yet. */
  readonly tentative: boolean;
  /** Somebody else on the link has the address. */
  readonly duplicate: boolean;
  /** It stays until somebody removes it; one of a router's advertisement does not. */
  readonly permanent: boolean;
}

export interface NewAddress {
  readonly index: number;
  readonly address: Prefix;
  /** Absent: the prefix's last address, for IPv4 up to /30. */
  readonly broadcast?: IP | undefined;
  readonly scope?: number | undefined;
  /** IPv6: usable at once, without asking the link whether somebody has it. */
  readonly noDad?: boolean | undefined;
}

export interface AddressFilter {
  readonly index?: number | undefined;
  readonly family?: 4 | 6 | undefined;
}

export const addresses = {
  /** ENODEV when there is no interface of that index. */
  list({ index = 0, family }: AddressFilter = {}): Request<readonly InterfaceAddress[]> {
    const code = family === undefined ? AF_UNSPEC : familyCode(family);
    return dump('list addresses', RTM_GETADDR, [header(code, 0, 0, index)], (payload) => {
      const found = decodeAddress(payload);
      // Kernels without NETLINK_GET_STRICT_CHK tell all, those without IPv6 tell IPv4's instead.
      const matches =
        (index === 0 || found?.index === index) && (family ?? found?.address.ip.family) === found?.address.ip.family;
      return matches ? found : undefined;
    });
  },

  /** EEXIST when the interface has the address. */
  add(address: NewAddress): Request<void> {
    return change(describe('add', address), RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, encodeAddress(address));
  },

  /** Adds it, or gives the one that is there these settings. */
  replace(address: NewAddress): Request<void> {
    return change(describe('set', address), RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, encodeAddress(address));
  },

  /** EADDRNOTAVAIL when the interface does not have it. */
  delete(address: Pick<NewAddress, 'index' | 'address'>): Request<void> {
    return change(describe('delete', address), RTM_DELADDR, 0, encodeAddress(address));
  },
};

function describe(verb: string, { index, address }: Pick<NewAddress, 'index' | 'address'>): string {
  return `${verb} address ${formatPrefix(address)} on interface number ${index}`;
}

/** struct ifaddrmsg */
function header(family: number, length: number, scope: number, index: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeUInt8(family, 0);
  buffer.writeUInt8(length, 1);
  buffer.writeUInt8(scope, 3);
  buffer.writeUInt32LE(index, 4);
  return buffer;
}

function encodeAddress({ index, address, broadcast, scope = 0, noDad }: NewAddress): Buffer[] {
  const { ip, length } = address;
  const attributes: Attribute[] = [bytes(IFA_LOCAL, ip.bytes), bytes(IFA_ADDRESS, ip.bytes)];
  const toAll = broadcast ?? (ip.family === 4 && length <= 30 ? lastOf(address) : undefined);
  if (toAll !== undefined) attributes.push(bytes(IFA_BROADCAST, toAll.bytes));
  if (noDad) attributes.push(u32(IFA_FLAGS, IFA_F_NODAD));
  return [header(familyCode(ip.family), length, scope, index), ...attributes];
}

function decodeAddress(payload: Buffer): InterfaceAddress | undefined {
  const family = familyOf(payload.readUInt8(0));
  const attributes = Attributes.decode(payload.subarray(8));
  // Of a point-to-point link, IFA_ADDRESS is the other end's; IPv6 has IFA_LOCAL only there.
  const ip = ipOf(attributes.bytes(IFA_LOCAL) ?? attributes.bytes(IFA_ADDRESS));
  if (ip === undefined || ip.family !== family) return undefined;
  const flags = attributes.u32(IFA_FLAGS) ?? payload.readUInt8(2);
  return {
    index: payload.readUInt32LE(4),
    address: { ip, length: payload.readUInt8(1) },
    broadcast: ipOf(attributes.bytes(IFA_BROADCAST)),
    scope: payload.readUInt8(3),
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    duplicate: (flags & IFA_F_DADFAILED) !== 0,
    permanent: (flags & IFA_F_PERMANENT) !== 0,
  };
}
