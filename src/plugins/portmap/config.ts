import { z } from 'zod';
import { CniError, ErrorCode } from '../../cni/error.ts';
import type { PluginConfig } from '../../cni/plugin.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { formatIP, type IP } from '../../net/ip.ts';
import { address, optional } from '../ipam-schema.ts';
import { iptablesCondition, nftablesCondition } from './conditions.ts';

const backendNames = ['iptables', 'nftables'] as const;

export type Backend = (typeof backendNames)[number];

const problemOf = { iptables: iptablesCondition, nftables: nftablesCondition } as const;

export const protocols = ['tcp', 'udp', 'sctp'] as const;

/** A port of the node that leads to one of the container. */
export interface Mapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: (typeof protocols)[number];
  /** The only address of the node that leads there. Undefined: all. */
  readonly hostIP: IP | undefined;
}

const port = z.int('expected a port from 1 to 65535').min(1).max(65_535);

const mapping = z.object({
  hostPort: port,
  containerPort: port,
  protocol: z
    .string('expected tcp, udp or sctp')
    .transform((text) => text.toLowerCase())
    .pipe(z.enum(protocols, 'expected tcp, udp or sctp')),
  hostIP: optional(address),
});

const noMappings = { portMappings: [] };

const schema = z.object({
  /** Absent: the one that the conditions are written for, else iptables where the node has it, else nftables. */
  backend: z.enum(backendNames, 'expected iptables or nftables').optional(),
  /** Whether connections of the node to itself, and of the container to itself, are seen to come from the node. */
  snat: z.boolean().default(true),
  /** The same for all others. */
  masqAll: z.boolean().default(false),
  conditionsV4: z.array(z.string().min(1)).default([]),
  conditionsV6: z.array(z.string().min(1)).default([]),
  markMasqBit: z.int('expected a bit from 0 to 31').min(0).max(31).optional(),
  externalSetMarkChain: z
    .string('expected the name of a chain')
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,27}$/, 'expected the name of a chain')
    .optional(),
  runtimeConfig: z.object({ portMappings: z.array(mapping).default([]) }).default(noMappings),
});

export interface PortmapConfig {
  /** In the order in which they are to be tried. */
  readonly backends: readonly Backend[];
  readonly snat: boolean;
  readonly masqAll: boolean;
  readonly conditions: { readonly 4: readonly string[]; readonly 6: readonly string[] };
  readonly markMasqBit: number;
  readonly externalSetMarkChain: string | undefined;
  readonly mappings: readonly Mapping[];
}

/** Kubernetes uses 14 and 15, Calico 20 to 31; the containernetworking plugin this one. */
const defaultMarkBit = 13;

/** @throws {CniError} 7 */
export function parsePortmap(config: PluginConfig): PortmapConfig {
  const parsed = parsePluginConfig(schema, config);
  const { backend, snat, masqAll, conditionsV4, conditionsV6, markMasqBit, externalSetMarkChain } = parsed;
  const fail = (message: string): never => {
    throw new CniError(ErrorCode.InvalidNetworkConfig, `network "${config.name}": ${message}`);
  };
  if (markMasqBit !== undefined && externalSetMarkChain !== undefined) {
    fail('Cannot specify externalSetMarkChain and markMasqBit: the chain sets a mark of its own');
  }
  const conditions = { 4: conditionsV4, 6: conditionsV6 };
  const meant = backendsMeant(conditions, externalSetMarkChain);
  const taken = backend ?? backendNames.find((name) => meant[name].length > 0);
  if (taken !== undefined) {
    const other = taken === 'iptables' ? 'nftables' : 'iptables';
    if (meant[other].length > 0) {
      fail(
        `${taken} backend was requested but configuration contains ${other}-specific options [${meant[other].join(' ')}]`,
      );
    }
    for (const family of [4, 6] as const) {
      const problem = conditions[family].map(problemOf[taken]).find((each) => each !== undefined);
      if (problem !== undefined) fail(`conditionsV${family}: ${problem}`);
    }
  }
  return {
    snat,
    masqAll,
    backends: taken === undefined ? backendNames : [taken],
    conditions,
    markMasqBit: markMasqBit ?? defaultMarkBit,
    externalSetMarkChain,
    mappings: parsed.runtimeConfig.portMappings,
  };
}

/** The options of a configuration that only one of the backends understands. */
function backendsMeant(
  conditions: PortmapConfig['conditions'],
  externalSetMarkChain: string | undefined,
): Readonly<Record<Backend, readonly string[]>> {
  const options: Record<Backend, string[]> = { iptables: [], nftables: [] };
  if (externalSetMarkChain !== undefined) options.iptables.push('externalSetMarkChain');
  for (const family of [4, 6] as const) {
    const [first] = conditions[family];
    // Those of iptables are options, which nftables has none of.
    if (first !== undefined) options[/^[-!]/.test(first) ? 'iptables' : 'nftables'].push(`conditionsV${family}`);
  }
  return options;
}

/** The mappings that are of a family: those that name no address of the other. */
export function mappingsOf(mappings: readonly Mapping[], family: 4 | 6): readonly Mapping[] {
  return mappings.filter(({ hostIP }) => hostIP === undefined || hostIP.family === family);
}

/** The node's address that a mapping is bound to, if any: 0.0.0.0 and :: are all addresses of their family. */
export function boundTo({ hostIP }: Mapping): string | undefined {
  return hostIP === undefined || hostIP.bytes.every((byte) => byte === 0) ? undefined : formatIP(hostIP);
}
