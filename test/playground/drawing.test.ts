import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DrawnInterface } from '../../src/observe/follow.ts';
import { drawPod } from '../../src/playground/drawing.ts';

const eth0: DrawnInterface = {
  name: 'eth0',
  addresses: ['10.20.139.27/32'],
  kind: 'veth',
  hops: ['eni3b9c1f0a2de'],
  network: 'aws-cni',
  facts: ['default route'],
  connected: true,
};

const net1: DrawnInterface = {
  name: 'net1',
  addresses: ['100.64.30.10/19'],
  kind: 'ipvlan l2',
  hops: ['ens6'],
  network: 'default/ipvlan-conf-1',
  facts: ['100.64.0.0/19'],
  connected: true,
};

const drawings: Readonly<Record<string, readonly [interfaces: readonly DrawnInterface[], expected: string]>> = {
  'one interface': [
    [eth0],
    `
╭─ pod default/a ────────╮          ╭─ node ─────────╮    ╭─ aws-cni ─────╮
│ eth0  10.20.139.27/32  ├── veth ──┤ eni3b9c1f0a2de ├────┤ default route │
╰────────────────────────╯          ╰────────────────╯    ╰───────────────╯`,
  ],
  'two interfaces, whose lines end at one column': [
    [eth0, net1],
    `
╭─ pod default/a ────────╮               ╭─ node ─────────╮    ╭─ aws-cni ───────────────╮
│ eth0  10.20.139.27/32  ├── veth ───────┤ eni3b9c1f0a2de ├────┤ default route           │
│                        │               │                │    ╰─────────────────────────╯
│                        │               │                │    ╭─ default/ipvlan-conf-1 ─╮
│ net1  100.64.30.10/19  ├── ipvlan l2 ──┤ ens6           ├────┤ 100.64.0.0/19           │
╰────────────────────────╯               ╰────────────────╯    ╰─────────────────────────╯`,
  ],
  'several addresses of both families, and more facts than addresses': [
    [
      { ...eth0, addresses: ['10.0.0.4/32', 'fd00::5/128'] },
      { ...net1, addresses: ['10.1.1.1/24'], facts: ['10.1.1.0/24', 'fd01::/64', '10.0.0.0/8 via 10.1.1.254'] },
    ],
    `
╭─ pod default/a ────╮               ╭─ node ─────────╮    ╭─ aws-cni ─────────────────╮
│ eth0  10.0.0.4/32  ├── veth ───────┤ eni3b9c1f0a2de ├────┤ default route             │
│       fd00::5/128  │               │                │    ╰───────────────────────────╯
│                    │               │                │    ╭─ default/ipvlan-conf-1 ───╮
│ net1  10.1.1.1/24  ├── ipvlan l2 ──┤ ens6           ├────┤ 10.1.1.0/24               │
│                    │               │                │    │ fd01::/64                 │
│                    │               │                │    │ 10.0.0.0/8 via 10.1.1.254 │
╰────────────────────╯               ╰────────────────╯    ╰───────────────────────────╯`,
  ],
  'a way over two interfaces of the node, a device of the pod, and one that leads nowhere': [
    [
      { ...net1, kind: 'veth', hops: ['veth1b2c3d4e', 'cni0'], network: 'a/bridge', addresses: [] },
      { ...net1, name: 'net2', kind: 'host-device', hops: [], network: 'a/nic', facts: [] },
      { ...net1, name: 'net3', kind: 'dummy', hops: [], network: 'a/dummy', connected: false },
    ],
    `
╭─ pod default/a ────────╮                 ╭─ node ───────────────╮    ╭─ a/bridge ────╮
│ net1  no address       ├── veth ─────────┤ veth1b2c3d4e ── cni0 ├────┤ 100.64.0.0/19 │
│                        │                 │                      │    ╰───────────────╯
│                        │                 │                      │    ╭─ a/nic ───────╮
│ net2  100.64.30.10/19  ├── host-device ──┼──────────────────────┼────┤               │
│                        │                 │                      │    ╰───────────────╯
│                        │                 │                      │    ╭─ a/dummy ─────╮
│ net3  100.64.30.10/19  ├── dummy ──╴     │                      │    │ 100.64.0.0/19 │
╰────────────────────────╯                 ╰──────────────────────╯    ╰───────────────╯`,
  ],
  'a name longer than all that is in the pod, and an interface name of another length': [
    [
      { ...net1, name: 'n', addresses: ['fd00::1/64'], facts: ['fd00::/64'] },
      { ...net1, network: 'b', facts: [] },
    ],
    `
╭─ pod default/a ────────╮               ╭─ node ─╮    ╭─ default/ipvlan-conf-1 ─╮
│ n     fd00::1/64       ├── ipvlan l2 ──┤ ens6   ├────┤ fd00::/64               │
│                        │               │        │    ╰─────────────────────────╯
│                        │               │        │    ╭─ b ─────────────────────╮
│ net1  100.64.30.10/19  ├── ipvlan l2 ──┤ ens6   ├────┤                         │
╰────────────────────────╯               ╰────────╯    ╰─────────────────────────╯`,
  ],
  'names that would drive a terminal': [
    [{ ...net1, name: '\u001b[2Jx', hops: ['e\nx'], network: 'a\u0007b', facts: [] }],
    `
╭─ pod default/a ─────────╮               ╭─ node ─╮    ╭─ a?b ─╮
│ ?[2Jx  100.64.30.10/19  ├── ipvlan l2 ──┤ e?x    ├────┤       │
╰─────────────────────────╯               ╰────────╯    ╰───────╯`,
  ],
  'no interface at all': [
    [],
    `
╭─ pod default/a ─╮
│                 │
╰─────────────────╯`,
  ],
};

for (const [what, [interfaces, expected]] of Object.entries(drawings)) {
  test(`draws ${what}`, () => {
    assert.equal(`\n${drawPod('pod default/a', interfaces)}`, expected);
  });
}

test('all lines of a drawing are of one width', () => {
  const lines = drawPod('pod default/a', [eth0, net1, eth0]).split('\n');
  const widths = new Set(lines.map((line) => line.length));
  assert.deepEqual([...widths], [lines[0]?.length]);
});
