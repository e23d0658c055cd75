import { z } from 'zod';
import type { PluginConfig } from '../../cni/plugin.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import type { Prefix } from '../../net/ip.ts';
import { prefix } from '../ipam-schema.ts';

/** What the kernel's structures have room for, in bytes. */
const maxBurst = 0xffffffff;

const expectedRate = 'expected a whole number of bits per second, at least 8; 0 for no limit';
const rate = z.int(expectedRate).refine((bits) => bits === 0 || bits >= 8, expectedRate);
const expectedBurst = 'expected a whole number of bits, at least 8';
const burst = z
  .int(expectedBurst)
  .refine((bits) => bits === 0 || bits >= 8, expectedBurst)
  .refine((bits) => bits / 8 < maxBurst, 'burst cannot be more than 4GB');

const keys = {
  ingressRate: rate.optional(),
  ingressBurst: burst.optional(),
  egressRate: rate.optional(),
  egressBurst: burst.optional(),
  shapedSubnets: z.array(prefix).optional(),
  unshapedSubnets: z.array(prefix).optional(),
};

type Entry = z.output<z.ZodObject<typeof keys>>;

const schema = z
  .object({
    ...keys,
    runtimeConfig: z.object({ bandwidth: z.object(keys).superRefine(requireWhole).optional() }).default({}),
  })
  .superRefine(requireWhole);

/** What one direction is held to. */
export interface Limit {
  /** Bytes per second. */
  readonly rate: number;
  /** Bytes that may be sent at once after a pause. */
  readonly burst: number;
}

/** What is held to a limit, by the prefix that the other side's address is in. */
export type Scope =
  | { readonly type: 'all' }
  | { readonly type: 'only' | 'all but'; readonly subnets: readonly Prefix[] };

export interface Limits {
  /** Of what the pod receives. */
  readonly ingress: Limit | undefined;
  /** Of what it sends. */
  readonly egress: Limit | undefined;
  readonly scope: Scope;
}

/** Any key of the configuration's own puts the runtime's aside, as in the containernetworking plugin. */
export function readLimits(config: PluginConfig): Limits {
  const { runtimeConfig, ...own } = parsePluginConfig(schema, config);
  const isOwn = Object.values(own).some((value) => value !== undefined);
  const entry = isOwn ? own : (runtimeConfig.bandwidth ?? {});
  return {
    ingress: limitOf(entry.ingressRate, entry.ingressBurst),
    egress: limitOf(entry.egressRate, entry.egressBurst),
    scope: scopeOf(entry),
  };
}

function requireWhole(entry: Entry, context: z.RefinementCtx<unknown>): void {
  const problem = (key: keyof Entry, message: string): void =>
    context.addIssue({ code: 'custom', path: [key], message });
  for (const direction of ['ingress', 'egress'] as const) {
    const [rate, burst] = [entry[`${direction}Rate`], entry[`${direction}Burst`]];
    if (rate && !burst) problem(`${direction}Burst`, 'if rate is set, burst must also be set');
    if (burst && !rate) problem(`${direction}Rate`, 'if burst is set, rate must also be set');
  }
  if (entry.shapedSubnets?.length && entry.unshapedSubnets?.length) {
    problem('unshapedSubnets', 'unshapedSubnets and shapedSubnets cannot be both specified');
  }
}

function limitOf(rate = 0, burst = 0): Limit | undefined {
  return rate === 0 ? undefined : { rate: Math.floor(rate / 8), burst: Math.floor(burst / 8) };
}

function scopeOf({ shapedSubnets = [], unshapedSubnets = [] }: Entry): Scope {
  if (shapedSubnets.length > 0) return { type: 'only', subnets: shapedSubnets };
  return unshapedSubnets.length > 0 ? { type: 'all but', subnets: unshapedSubnets } : { type: 'all' };
}
