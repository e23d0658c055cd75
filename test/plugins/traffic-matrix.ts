import { test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { networkNamespace } from '../parity/node.ts';
import { addWire } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, withResult } from './support.ts';
import { exchange } from './traffic.ts';

/*
 * Two pods of one network exchange packets: both ways, in both families, small, as large as the MTU and larger, which
 * travels in fragments. One row for each interface plugin, and for each of its modes in which pods reach each other.
 */

export interface Network {
  readonly plugin: string;
  readonly what?: string;
  /** The plugin's keys. */
  readonly keys: JsonObject;
  /** The second pod's, where they are others. */
  readonly others?: JsonObject;
  /** Of the pods' interfaces. Default: 1500. */
  readonly mtu?: number;
  /** MTU of the node's wire, whose ends are ens5 and ens5p. Default: none is needed. */
  readonly wire?: number;
  /** What the pods' addresses are of, where one subnet for each family would not do. */
  readonly ipam?: JsonObject;
}

const subnets = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

/** A test for each network. The process must be in a node of its own. */
export function testTraffic(networks: readonly Network[]): void {
  for (const network of networks) {
    const { plugin, what = '' } = network;
    test(`two pods of ${`${plugin} ${what}`.trim()} exchange packets of any size, both ways, in both families`, () =>
      exchangeAll(network));
  }
}

async function exchangeAll({ plugin, keys, others = keys, mtu = 1500, wire, ipam }: Network): Promise<void> {
  await using stack = new AsyncDisposableStack();
  if (wire !== undefined) {
    await addWire('ens5', wire);
    stack.defer(() => ip(undefined, 'link', 'del', 'ens5').then(() => undefined));
  }
  const addresses = stack.use(await hostLocalAddresses(ipam ?? subnets));
  const pods: { readonly path: string; readonly addresses: readonly string[] }[] = [];
  for (const [index, own] of [keys, others].entries()) {
    const { path } = stack.use(await networkNamespace());
    const place = attachment(path, { containerId: `c${index + 1}` });
    const network = config(plugin, { ...own, ipam: addresses.ipam });
    const result = await runner.add(network, place);
    // Before the namespace goes: the kernel takes its time with what is left in one.
    stack.defer(() => runner.delete(withResult(network, result), place));
    pods.push({ path, addresses: result.ips.map(({ address }) => address.replace(/\/\d+$/, '')) });
  }
  for (const [from, to] of [pods, pods.toReversed()]) {
    if (from === undefined || to === undefined) throw new Error('there are two pods');
    for (const address of to.addresses) {
      for (const packet of [100, mtu, mtu + 1, 3 * mtu + 500]) await exchange(from.path, to.path, address, packet);
    }
  }
}
