import { CniError, ErrorCode } from '../../cni/error.ts';
import type { Result } from '../../cni/result.ts';
import { bridgePorts } from '../../linux/bridge-port.ts';
import { links } from '../../linux/link.ts';
import { Rtnetlink } from '../../linux/rtnetlink.ts';
import type { IP } from '../../net/ip.ts';

/** Who may reach the pods of a bridge, when it is not everybody. */
export interface Policy {
  /** `same-bridge`: no pod of another bridge that has a policy. `isolated`: nor the other pods of the bridge. */
  readonly kind: 'same-bridge' | 'isolated';
  readonly bridge: string;
}

/** What a backend is to see to. */
export interface Wanted {
  /** Of the pod. */
  readonly addresses: readonly IP[];
  readonly policy: Policy | undefined;
}

/** Names that mean the same to iptables, which knows wildcards, and to nft, which knows quotes, as to the kernel. */
const plainName = /^[A-Za-z0-9_.-]{1,15}$/;

/**
 * The policy of a pod: the bridge is the first interface of the result, as the bridge plugin has it.
 *
 * @throws {CniError} 7 where there is none.
 */
export function policyOf(kind: '' | 'open' | Policy['kind'], { interfaces }: Result): Policy | undefined {
  if (kind === '' || kind === 'open') return undefined;
  const [first] = interfaces;
  const wanted = `ingressPolicy "${kind}" is about a bridge`;
  if (first === undefined) throw invalid(`interface needs to be set for ${wanted}: the result before has no interface`);
  const { name, sandbox = '' } = first;
  if (name === '') throw invalid(`got empty bridge name: ${wanted}`);
  if (sandbox !== '') throw invalid(`${wanted}: the first interface of the result before, "${name}", is the pod's`);
  if (!plainName.test(name)) throw invalid(`${wanted}: "${name}" is no interface name that a rule can have`);
  return { kind, bridge: name };
}

const invalid = (message: string): CniError =>
  new CniError(ErrorCode.InvalidNetworkConfig, message, 'make sure to chain firewall with bridge');

/**
 * Has the bridge itself keep isolated pods apart: what stays within a bridge does not come by the rules of a node without
 * br_netfilter.
 *
 * @param undo Takes what undoes it.
 */
export async function isolatePorts(
  undo: AsyncDisposableStack,
  { kind, bridge }: Policy,
  { interfaces }: Result,
): Promise<void> {
  if (kind !== 'isolated') return;
  const names = interfaces.filter(({ name, sandbox = '' }) => sandbox === '' && name !== '').map(({ name }) => name);
  using node = Rtnetlink.open();
  const present = (await node.settle(...names.map((name) => links.get({ name })))).flatMap((each) =>
    each.ok ? [each.value] : [],
  );
  const own = present.find(({ name }) => name === bridge);
  for (const { index, master } of present) {
    if (own === undefined || master !== own.index) continue;
    const [port] = await node.run(bridgePorts.get(index));
    if (port === undefined || port.isolated) continue;
    undo.defer(() => setIsolated(index, false));
    await setIsolated(index, true);
  }
}

async function setIsolated(index: number, isolated: boolean): Promise<void> {
  using node = Rtnetlink.open();
  await node.run(bridgePorts.change(index, { isolated }));
}
