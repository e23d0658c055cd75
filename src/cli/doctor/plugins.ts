import { access, constants } from 'node:fs/promises';
import { findPlugin, type Root } from '../../cni/exec.ts';
import { isJsonObject } from '../../cni/json.ts';
import { resolveIn } from '../../cni/root.ts';
import { moduleState } from '../../linux/kernel-module.ts';
import { links } from '../../linux/link.ts';
import type { KindName } from '../../linux/link-kind.ts';
import { supportedKinds } from '../../linux/link-kind-support.ts';
import { Rtnetlink } from '../../linux/rtnetlink.ts';
import { findMaster, listInterfaces } from '../../plugins/master.ts';
import { type Finding, fine, lacking, messageOf, needers } from './finding.ts';
import type { UsedNetwork } from './networks.ts';

/** Plugin types, each with the networks that use it, IPAM plugins among them. */
export type PluginUse = ReadonlyMap<string, readonly string[]>;

export function pluginUse(networks: readonly UsedNetwork[]): PluginUse {
  return grouped(
    networks.flatMap(({ name, list }) =>
      list.plugins.flatMap(({ type, ipam }) => {
        const ipamType = isJsonObject(ipam) ? ipam['type'] : undefined;
        const types = typeof ipamType === 'string' && ipamType !== '' ? [type, ipamType] : [type];
        return types.map((each) => [each, name] as const);
      }),
    ),
  );
}

/**
 * Whether each plugin is built in, or where the daemon looks for what it executes.
 *
 * @param root Where it looks, if not in its own root.
 */
export async function checkPlugins(
  use: PluginUse,
  builtin: ReadonlySet<string>,
  path: readonly string[],
  root?: Root,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [type, users] of use) {
    if (builtin.has(type)) {
      findings.push(fine('plugin', `${type} is built in`));
      continue;
    }
    try {
      const file = await findPlugin(type, path, root);
      await access(root === undefined ? file : await resolveIn(root.directory, file), constants.X_OK);
      findings.push(fine('plugin', `${type} is executed, ${file}`));
    } catch (error) {
      const remedy = 'install it there, or correct the type in the configuration';
      findings.push(lacking('plugin', `${needers(users)}: ${type} is not built in, and ${messageOf(error)}`, remedy));
    }
  }
  return findings;
}

/** What the kernel must be able to make for plugins that are built in. */
const kindsOf: Readonly<Record<string, readonly KindName[]>> = {
  bridge: ['bridge', 'veth'],
  ptp: ['veth'],
  macvlan: ['macvlan'],
  ipvlan: ['ipvlan'],
  vlan: ['vlan'],
  vrf: ['vrf'],
  dummy: ['dummy'],
  tap: ['tun'],
  vxlan: ['vxlan', 'bridge', 'veth'],
  bandwidth: ['ifb'],
};

/** Asks the kernel for each kind of interface that the plugins in use make. */
export async function checkKinds(use: PluginUse, builtin: ReadonlySet<string>): Promise<Finding[]> {
  const needed = grouped(
    [...use].flatMap(([type, users]) => {
      const kinds = builtin.has(type) ? (kindsOf[type] ?? []) : [];
      return kinds.flatMap((kind) => users.map((user) => [kind, user] as const));
    }),
  );
  const kinds = [...needed.keys()];
  const supported = await supportedKinds(kinds);
  return Promise.all(
    kinds.map(async (kind) =>
      supported.has(kind)
        ? fine('kernel', `it can make ${kind} interfaces`)
        : lacking(
            'kernel',
            `${needers(needed.get(kind) ?? [])}: it cannot make ${kind} interfaces`,
            await moduleRemedy(kind),
          ),
    ),
  );
}

async function moduleRemedy(kind: string): Promise<string> {
  switch (await moduleState(kind)) {
    case 'can be loaded':
      return `load its module: modprobe ${kind}, and a line "${kind}" in /etc/modules-load.d/plexus.conf`;
    case 'missing':
      return `install the module ${kind} for it (Ubuntu has it in linux-modules-extra, Debian in linux-image), or another kernel`;
    default:
      return `modprobe ${kind}, on the node; where that finds none, use a kernel that has it`;
  }
}

/** Looks for the interfaces of this node that networks name. */
export async function checkInterfaces(networks: readonly UsedNetwork[]): Promise<Finding[]> {
  const named = networks.flatMap(({ name, list }) =>
    list.plugins.flatMap((plugin) => {
      const { type, master, device, linkInContainer } = plugin;
      if (typeof master === 'string' && master !== '' && linkInContainer !== true) return [[master, name] as const];
      return type === 'host-device' && typeof device === 'string' && device !== '' ? [[device, name] as const] : [];
    }),
  );
  const devices = new Set(networks.flatMap(({ list }) => list.plugins.flatMap(({ device }) => device ?? [])));
  using netlink = Rtnetlink.open();
  const findings: Finding[] = [];
  for (const [name, users] of grouped(named)) {
    const found = devices.has(name) ? await deviceProblem(netlink, name) : await masterProblem(netlink, name);
    findings.push(
      found === undefined
        ? fine('interface', `${name} is there`)
        : lacking(
            'interface',
            `${needers(users)}: ${found}`,
            'correct the name in the configuration, or set the interface up',
          ),
    );
  }
  return findings;
}

async function masterProblem(netlink: Rtnetlink, name: string): Promise<string | undefined> {
  try {
    await findMaster(netlink, name, 'this node');
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function deviceProblem(netlink: Rtnetlink, name: string): Promise<string | undefined> {
  const [found] = await netlink.settle(links.get({ name }));
  if (found?.ok) return undefined;
  return `device "${name}" not found, unless a pod has it now; this node has ${await listInterfaces(netlink)}`;
}

function grouped<K>(pairs: readonly (readonly [K, string])[]): ReadonlyMap<K, readonly string[]> {
  const groups = new Map<K, string[]>();
  for (const [key, value] of pairs) {
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}
