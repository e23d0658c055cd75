import type { DrawnInterface } from '../observe/follow.ts';

/** The space between the node and the networks. */
const gap = 4;

/**
 * Draws a pod with its interfaces, the node's interfaces behind them, and the networks that they lead to:
 *
 *     ╭─ pod default/a ────────╮               ╭─ node ─╮    ╭─ default/blue ─╮
 *     │ net1  100.64.30.10/19  ├── ipvlan l2 ──┤ ens6   ├────┤ 100.64.0.0/19  │
 *     ╰────────────────────────╯               ╰────────╯    ╰────────────────╯
 *
 * @param title What to write over the pod.
 * @returns Lines without a newline at the end. Characters that would disturb a terminal are replaced.
 */
export function drawPod(title: string, interfaces: readonly DrawnInterface[]): string {
  const shown = interfaces.map(printable);
  const nameWidth = widest(shown.map(({ name }) => name));
  const rows = shown.map((each) => podLines(each, nameWidth));
  const heading = printableText(title);
  const podWidth = Math.max(heading.length + 2, widest(rows.flat()) + 1);
  const kindWidth = widest(shown.map(({ kind }) => kind));
  const nodeWidth = Math.max('node'.length + 2, widest(shown.map(hopText)));
  const networkWidth = Math.max(...shown.map(({ network, facts }) => Math.max(network.length + 2, widest(facts))), 0);

  const lines: string[] = [];
  for (const [index, each] of shown.entries()) {
    const isFirst = index === 0;
    const isLast = index === shown.length - 1;
    const inPod = rows[index] ?? [];
    const network = box(each, networkWidth);
    const height = Math.max(network.length, inPod.length + (isLast ? 2 : 1));
    for (let row = 0; row < height; row++) {
      const atTop = isFirst && row === 0;
      const atBottom = isLast && row === height - 1;
      const leads = row === 1;
      const pod = side(heading, podWidth, { atTop, atBottom, end: leads ? '├' : '│' }, inPod[row - 1] ?? '');
      const line = leads ? wire(each, kindWidth) : ' '.repeat(kindWidth + 6);
      lines.push(
        `${pod}${line}${nodeCell(each, nodeWidth, { atTop, atBottom, leads })}${network[row] ?? ''}`.trimEnd(),
      );
    }
  }
  return (lines.length > 0 ? lines : emptyPod(heading, podWidth)).join('\n');
}

interface Place {
  readonly atTop: boolean;
  readonly atBottom: boolean;
}

/** One row of the pod's box. */
function side(title: string, width: number, { atTop, atBottom, end }: Place & { end: string }, text: string): string {
  if (atTop) return top(title, width);
  if (atBottom) return bottom(width);
  return `│ ${text.padEnd(width)} ${end}`;
}

/** The line from the pod to the node, or to nowhere. */
function wire({ kind, hops, connected }: DrawnInterface, width: number): string {
  const leadsOn = connected || hops.length > 0;
  return leadsOn ? `── ${kind} `.padEnd(width + 6, '─') : `── ${kind} ──╴`.padEnd(width + 6);
}

/** One row of the node's box, with the line to the network's. */
function nodeCell(each: DrawnInterface, width: number, { atTop, atBottom, leads }: Place & { leads: boolean }): string {
  const space = ' '.repeat(gap);
  if (atTop) return top('node', width) + space;
  if (atBottom) return bottom(width) + space;
  if (!leads || (each.hops.length === 0 && !each.connected)) return `│${' '.repeat(width + 2)}│${space}`;
  // A device of the pod's own passes the node by, on its way to the network.
  if (each.hops.length === 0) return `┼${'─'.repeat(width + 2)}┼${'─'.repeat(gap)}`;
  return `┤ ${hopText(each).padEnd(width)} ├${'─'.repeat(gap)}`;
}

/** The network's box. */
function box({ network, facts, connected }: DrawnInterface, width: number): string[] {
  const [first = '', ...rest] = facts;
  return [
    top(network, width),
    `${connected ? '┤' : '│'} ${first.padEnd(width)} │`,
    ...rest.map((fact) => `│ ${fact.padEnd(width)} │`),
    bottom(width),
  ];
}

const top = (title: string, width: number): string => `╭─ ${title} ${'─'.repeat(width - title.length - 1)}╮`;

const bottom = (width: number): string => `╰${'─'.repeat(width + 2)}╯`;

const emptyPod = (title: string, width: number): string[] => [
  top(title, width),
  `│ ${' '.repeat(width)} │`,
  bottom(width),
];

function podLines({ name, addresses }: DrawnInterface, nameWidth: number): string[] {
  const [first = 'no address', ...rest] = addresses;
  return [`${name.padEnd(nameWidth)}  ${first}`, ...rest.map((address) => `${' '.repeat(nameWidth)}  ${address}`)];
}

const hopText = ({ hops }: DrawnInterface): string => hops.join(' ── ');

const widest = (texts: readonly string[]): number => Math.max(...texts.map((text) => text.length), 0);

function printable(each: DrawnInterface): DrawnInterface {
  return {
    ...each,
    name: printableText(each.name),
    addresses: each.addresses.map(printableText),
    kind: printableText(each.kind),
    hops: each.hops.map(printableText),
    network: printableText(each.network),
    facts: each.facts.map(printableText),
  };
}

/** Interfaces' names may have any byte but a slash, a colon and white space: escape sequences too. */
export function printableText(text: string): string {
  return text.replaceAll(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, '?');
}
