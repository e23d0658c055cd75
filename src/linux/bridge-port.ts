import { AF_BRIDGE, AF_UNSPEC } from './family.ts';
import { Attributes, nested, u8 } from './netlink/attribute.ts';
import { change, get, type Request } from './netlink/request.ts';

/* What a bridge does at one of its ports: IFLA_BRPORT_* of linux/if_link.h. */

const RTM_GETLINK = 18;
const RTM_SETLINK = 19;

const IFLA_PROTINFO = 12;
const IFLA_LINKINFO = 18;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;

const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_ISOLATED = 33;

export interface BridgePort {
  /** What came in may go out again where it came from. */
  readonly hairpin: boolean;
  /** Nothing goes to other isolated ports. */
  readonly isolated: boolean;
}

export const bridgePorts = {
  /** undefined where the interface is a port of no bridge; ENODEV when there is no such interface. */
  get(index: number): Request<BridgePort | undefined> {
    return get(`look up bridge port number ${index}`, RTM_GETLINK, [header(AF_UNSPEC, index)], decodePort);
  },

  /** EINVAL when the interface is a port of no bridge. */
  change(index: number, { hairpin, isolated }: Partial<BridgePort>): Request<void> {
    const settings = [
      ...(hairpin === undefined ? [] : [u8(IFLA_BRPORT_MODE, hairpin ? 1 : 0)]),
      ...(isolated === undefined ? [] : [u8(IFLA_BRPORT_ISOLATED, isolated ? 1 : 0)]),
    ];
    const wanted = [hairpin !== undefined && `hairpin ${hairpin}`, isolated !== undefined && `isolated ${isolated}`];
    return change(`set ${wanted.filter(Boolean).join(', ')} of bridge port number ${index}`, RTM_SETLINK, 0, [
      header(AF_BRIDGE, index),
      nested(IFLA_PROTINFO, settings),
    ]);
  },
};

/** struct ifinfomsg */
function header(family: number, index: number): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeUInt8(family, 0);
  buffer.writeInt32LE(index, 4);
  return buffer;
}

function decodePort(payload: Buffer): BridgePort | undefined {
  const info = Attributes.decode(payload.subarray(16)).nested(IFLA_LINKINFO);
  const data = info?.text(IFLA_INFO_SLAVE_KIND) === 'bridge' ? info.nested(IFLA_INFO_SLAVE_DATA) : undefined;
  return data && { hairpin: data.u8(IFLA_BRPORT_MODE) === 1, isolated: data.u8(IFLA_BRPORT_ISOLATED) === 1 };
}
