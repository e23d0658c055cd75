import { formatPrefix, type Prefix } from '../net/ip.ts';
import { AF_UNSPEC, familyCode, familyOf } from './family.ts';
import { ipOf } from './link-kind.ts';
import { type Attribute, Attributes, bytes, u32 } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from './netlink/message.ts';
import { change, dump, type Request } from './netlink/request.ts';

/* Rules that say which table of routes counts: struct fib_rule_hdr and FRA_* of linux/fib_rules.h, ip-rule(8). */

const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;

const FRA_SRC = 2;
const FRA_PRIORITY = 6;
const FRA_TABLE = 15;

const FR_ACT_TO_TBL = 1;

/** A rule that sends packets to a table: all of a family, or those from a prefix. */
export interface Rule {
  readonly family: 4 | 6;
  /** Undefined: whatever the source is. */
  readonly source?: Prefix | undefined;
  readonly table: number;
  /** Smaller comes first. The kernel puts one without before the first that is not its own, 32765 and down. */
  readonly priority?: number | undefined;
}

export const rules = {
  /** The rules that lead to a table. Of other conditions than the source they may have, nothing is told. */
  list(): Request<readonly Rule[]> {
    return dump('list rules', RTM_GETRULE, [header(AF_UNSPEC, 0, 0, 0)], decodeRule);
  },

  /** EEXIST when there is such a rule. */
  add(rule: Rule): Request<void> {
    return change(describe('add', rule), RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, encodeRule(rule));
  },

  /** ENOENT when there is none. Without a priority, the first that is otherwise the same. */
  delete(rule: Rule): Request<void> {
    return change(describe('delete', rule), RTM_DELRULE, 0, encodeRule(rule));
  },
};

function describe(verb: string, { source, table }: Rule): string {
  return `${verb} rule from ${source === undefined ? 'all' : formatPrefix(source)} to table ${table}`;
}

/** struct fib_rule_hdr */
function header(family: number, sourceLength: number, table: number, action: number): Buffer {
  const buffer = Buffer.alloc(12);
  buffer.set([family, 0, sourceLength, 0, table < 256 ? table : 0, 0, 0, action]);
  return buffer;
}

function encodeRule({ family, source, table, priority }: Rule): Buffer[] {
  const attributes: Attribute[] = [u32(FRA_TABLE, table)];
  if (source !== undefined) attributes.push(bytes(FRA_SRC, source.ip.bytes));
  if (priority !== undefined) attributes.push(u32(FRA_PRIORITY, priority));
  return [header(familyCode(family), source?.length ?? 0, table, FR_ACT_TO_TBL), ...attributes];
}

function decodeRule(payload: Buffer): Rule | undefined {
  const family = familyOf(payload.readUInt8(0));
  if (family === undefined || payload.readUInt8(7) !== FR_ACT_TO_TBL) return undefined;
  const attributes = Attributes.decode(payload.subarray(12));
  const source = ipOf(attributes.bytes(FRA_SRC));
  if (source !== undefined && source.family !== family) return undefined;
  return {
    family,
    source: source && { ip: source, length: payload.readUInt8(2) },
    table: attributes.u32(FRA_TABLE) ?? payload.readUInt8(4),
    // The kernel leaves out that of the first rule, which is 0.
    priority: attributes.u32(FRA_PRIORITY) ?? 0,
  };
}
