import { isKernelError } from './errors.ts';
import { NetworkNamespace } from './namespace.ts';
import { Attributes, eachAttribute, text } from './netlink/attribute.ts';
import { get, type Request } from './netlink/request.ts';
import { NetlinkSocket } from './netlink/socket.ts';

/* What devices say of their firmware: devlink (Documentation/networking/devlink/devlink-info.rst), over generic netlink. */

const NETLINK_GENERIC = 16;

/** linux/genetlink.h; the number of the family of families is the first that a message may have. */
const GENL_ID_CTRL = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

/** linux/devlink.h */
const DEVLINK_GENL_VERSION = 1;
const DEVLINK_CMD_INFO_GET = 51;
const DEVLINK_ATTR_BUS_NAME = 1;
const DEVLINK_ATTR_DEV_NAME = 2;
const DEVLINK_ATTR_INFO_VERSION_RUNNING = 101;
const DEVLINK_ATTR_INFO_VERSION_NAME = 103;
const DEVLINK_ATTR_INFO_VERSION_VALUE = 104;

/** struct genlmsghdr */
const headerLength = 4;
const header = (command: number, version: number): Buffer => Buffer.from([command, version, 0, 0]);

const family = (): Request<number | undefined> =>
  get(
    'look for devlink',
    GENL_ID_CTRL,
    [header(CTRL_CMD_GETFAMILY, 1), text(CTRL_ATTR_FAMILY_NAME, 'devlink')],
    (payload) => Attributes.decode(payload.subarray(headerLength)).u16(CTRL_ATTR_FAMILY_ID),
  );

const info = (id: number, bus: string, name: string): Request<ReadonlyMap<string, string>> =>
  get(
    `ask ${bus}/${name} for its versions`,
    id,
    [
      header(DEVLINK_CMD_INFO_GET, DEVLINK_GENL_VERSION),
      text(DEVLINK_ATTR_BUS_NAME, bus),
      text(DEVLINK_ATTR_DEV_NAME, name),
    ],
    decodeRunningVersions,
  );

/** Devlink of the node. */
export class Devlink implements Disposable {
  readonly #socket = NetlinkSocket.open(NetworkNamespace.host(), NETLINK_GENERIC);
  #family: number | undefined;

  /**
   * What runs on a device, by its generic names such as `fw.mgmt` and `fw.app.name`.
   *
   * @param bus Such as `pci`.
   * @param name Of the device there.
   * @returns undefined for a device that says nothing, and where the kernel has no devlink.
   * @throws {KernelError}
   */
  async runningVersions(bus: string, name: string): Promise<ReadonlyMap<string, string> | undefined> {
    this.#family ??= await this.#ask(family());
    return this.#family === undefined ? undefined : this.#ask(info(this.#family, bus, name));
  }

  async #ask<T>(request: Request<T>): Promise<T | undefined> {
    const [outcome] = await this.#socket.batch([request]);
    if (outcome?.ok) return outcome.value;
    if (isKernelError(outcome?.error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'EINVAL')) return undefined;
    throw outcome?.error ?? new Error(`${request.operation}: no answer`);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** @param payload Of an answer, with its header. */
export function decodeRunningVersions(payload: Buffer): ReadonlyMap<string, string> {
  const versions = new Map<string, string>();
  for (const [type, value] of eachAttribute(payload.subarray(headerLength))) {
    if (type !== DEVLINK_ATTR_INFO_VERSION_RUNNING) continue;
    const attributes = Attributes.decode(value);
    const name = attributes.text(DEVLINK_ATTR_INFO_VERSION_NAME);
    if (name !== undefined) versions.set(name, attributes.text(DEVLINK_ATTR_INFO_VERSION_VALUE) ?? '');
  }
  return versions;
}
