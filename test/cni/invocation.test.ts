import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Environment, readInvocation } from '../../src/cni/invocation.ts';
import { thrownBy } from './support.ts';

const full: Environment = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/a',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin:/usr/lib/cni',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=p',
};

const attachment = {
  containerId: 'c1',
  netns: '/run/netns/a',
  ifName: 'eth0',
  args: new Map([
    ['IgnoreUnknown', '1'],
    ['K8S_POD_NAME', 'p'],
  ]),
  path: ['/opt/cni/bin', '/usr/lib/cni'],
};

describe('a call', () => {
  const cases: readonly [string, Environment, unknown][] = [
    ['ADD', full, { command: 'ADD', attachment, netnsOverride: false }],
    ['CHECK', { ...full, CNI_COMMAND: 'CHECK' }, { command: 'CHECK', attachment, netnsOverride: false }],
    [
      'DEL whose namespace is gone',
      { ...full, CNI_COMMAND: 'DEL', CNI_NETNS: '' },
      { command: 'DEL', attachment: { ...attachment, netns: '' }, netnsOverride: false },
    ],
    ['GC', { CNI_COMMAND: 'GC', CNI_PATH: '/a' }, { command: 'GC', path: ['/a'] }],
    ['STATUS', { CNI_COMMAND: 'STATUS', CNI_PATH: '/a::/b:' }, { command: 'STATUS', path: ['/a', '/b'] }],
    ['VERSION', { CNI_COMMAND: 'VERSION' }, { command: 'VERSION' }],
    ['in the own namespace', { ...full, CNI_NETNS_OVERRIDE: '1' }, { command: 'ADD', attachment, netnsOverride: true }],
    [
      'in the own namespace',
      { ...full, CNI_NETNS_OVERRIDE: 'True' },
      { command: 'ADD', attachment, netnsOverride: true },
    ],
    ['not so', { ...full, CNI_NETNS_OVERRIDE: 'no' }, { command: 'ADD', attachment, netnsOverride: false }],
  ];
  for (const [name, env, expected] of cases) test(name, () => assert.deepEqual(readInvocation(env), expected));
});

describe('a call that lacks something, or is wrong, is refused with code 4', () => {
  const without = (...names: string[]): Environment =>
    Object.fromEntries(Object.entries(full).filter(([name]) => !names.includes(name)));
  const cases: readonly [Environment, string, string?][] = [
    [{}, 'required env variables [CNI_COMMAND] missing'],
    [without('CNI_CONTAINERID'), 'required env variables [CNI_CONTAINERID] missing'],
    [
      without('CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'),
      'required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing',
    ],
    [{ ...without('CNI_NETNS'), CNI_COMMAND: 'CHECK' }, 'required env variables [CNI_NETNS] missing'],
    [{ ...without('CNI_IFNAME'), CNI_COMMAND: 'DEL' }, 'required env variables [CNI_IFNAME] missing'],
    [{ CNI_COMMAND: 'GC' }, 'required env variables [CNI_PATH] missing'],
    [{ CNI_COMMAND: 'STATUS' }, 'required env variables [CNI_PATH] missing'],
    [{ ...full, CNI_COMMAND: 'add' }, 'unknown CNI_COMMAND: add'],
    [{ ...full, CNI_COMMAND: 'constructor' }, 'unknown CNI_COMMAND: constructor'],
    [{ ...full, CNI_CONTAINERID: '../../etc' }, 'invalid characters in containerID', '../../etc'],
    [{ ...full, CNI_CONTAINERID: '-x' }, 'invalid characters in containerID', '-x'],
    [{ ...full, CNI_CONTAINERID: 'x\n' }, 'invalid characters in containerID', 'x\n'],
    [
      { ...full, CNI_IFNAME: 'sixteen-letters!' },
      'interface name is too long',
      'interface name "sixteen-letters!" should be less than 16 characters',
    ],
    [
      { ...full, CNI_IFNAME: 'éééééééé' },
      'interface name is too long',
      'interface name "éééééééé" should be less than 16 characters',
    ],
    [{ ...full, CNI_IFNAME: '..' }, 'interface name is . or ..', '..'],
    [{ ...full, CNI_IFNAME: 'a/b' }, 'interface name contains / or : or whitespace characters', 'a/b'],
    [{ ...full, CNI_IFNAME: 'a:1' }, 'interface name contains / or : or whitespace characters', 'a:1'],
    [{ ...full, CNI_IFNAME: 'a b' }, 'interface name contains / or : or whitespace characters', 'a b'],
    [{ ...full, CNI_ARGS: 'A=1;B' }, 'ARGS: invalid pair "B" in CNI_ARGS, expected KEY=VALUE'],
  ];
  for (const [env, message, details = ''] of cases) {
    test(`${message} ${details}`, () => {
      assert.deepEqual(
        thrownBy(() => readInvocation(env)),
        [4, message, details],
      );
    });
  }
});
