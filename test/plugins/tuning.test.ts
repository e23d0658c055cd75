import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import type { PluginConfig } from '../../src/cni/plugin.ts';
import { Runner } from '../../src/cni/runner.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import { createTuning } from '../../src/plugins/tuning.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, ip } from './support.ts';

becomeNode();

const interfaceOf = (netns: string): JsonObject => ({
  cniVersion: '1.1.0',
  interfaces: [{ name: 'net1', mac: '02:00:00:00:01:01', sandbox: netns }],
  ips: [],
});

/** A pod with an interface, and tuning with an allow-list and a directory of its own. */
async function tunedPod() {
  await using stack = new AsyncDisposableStack();
  const pod = stack.use(await testNamespace());
  const directory = stack.use(await testDirectory());
  await ip(pod.path, 'link', 'add', 'net1', 'address', '02:00:00:00:01:01', 'type', 'veth', 'peer', 'name', 'net1p');
  const allowlist = join(directory.path, 'allowlist.conf');
  const dataDir = join(directory.path, 'tuning');
  const owned = stack.move();
  return {
    pod: attachment(pod.path),
    allowlist,
    dataDir,
    runner: new Runner({ builtin: [createTuning(allowlist)] }),
    network: (keys: JsonObject): PluginConfig =>
      config('tuning', { dataDir, prevResult: interfaceOf(pod.path), ...keys }),
    async state() {
      using namespace = NetworkNamespace.open(pod.path);
      const [link] = await ip(pod.path, 'link', 'show', 'net1');
      const { address, mtu, txqlen, flags } = link ?? {};
      const sysctl = async (name: string) => await readSysctl(namespace, 'ipv4', 'conf', 'net1', name);
      return { address, mtu, txqlen, flags, filter: await sysctl('arp_filter'), ignore: await sysctl('arp_ignore') };
    },
    backups: () => readdir(dataDir).catch(() => []),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const sysctl = { 'net.ipv4.conf.IFNAME.arp_filter': '1', 'net/ipv4/conf/net1/arp_ignore': '2' };
const everything = { mac: '02:00:00:00:77:01', mtu: 1300, promisc: true, allmulti: true, txQLen: 7, sysctl };

describe('tuning', () => {
  test('an ADD changes all that is asked for, and its DEL gives all of it back, twice', async () => {
    await using tuned = await tunedPod();
    const before = await tuned.state();
    const result = await tuned.runner.add(tuned.network(everything), tuned.pod);
    assert.equal(result.interfaces[0]?.mac, '02:00:00:00:77:01');
    const { flags, ...rest } = await tuned.state();
    assert.deepEqual(rest, { address: '02:00:00:00:77:01', mtu: 1300, txqlen: 7, filter: '1', ignore: '2' });
    assert.match(JSON.stringify(flags), /"PROMISC".*"ALLMULTI"|"ALLMULTI".*"PROMISC"/);
    await tuned.runner.check(tuned.network(everything), tuned.pod);
    for (const _ of [1, 2]) {
      await tuned.runner.delete(tuned.network(everything), tuned.pod);
      assert.deepEqual(await tuned.state(), before);
      assert.deepEqual(await tuned.backups(), []);
    }
  });

  const refused = [
    { what: 'an MTU that is too large', keys: { mtu: 1_000_000 }, message: /mtu 1000000/ },
    {
      what: 'a value that the kernel does not take',
      keys: { sysctl: { ...sysctl, 'net.ipv4.conf.net1.proxy_arp': 'x' } },
      message: /net\.ipv4\.conf\.net1\.proxy_arp cannot be "x"/,
    },
    { what: 'a sysctl that is not there', keys: { sysctl: { ...sysctl, 'net.none': '1' } }, message: /none/ },
    {
      what: "a sysctl of the node's",
      keys: { sysctl: { ...sysctl, 'kernel.panic': '1' } },
      message: /invalid net sysctl key: "kernel.panic"/,
    },
    {
      what: 'a sysctl that would be elsewhere',
      keys: { sysctl: { ...sysctl, '../kernel/panic': '1' } },
      message: /invalid net sysctl key/,
    },
    { what: 'an interface that is not there', keys: {}, ifName: 'net2', message: /"net2" not found/ },
  ];
  for (const { what, keys, ifName = 'net1', message } of refused) {
    test(`an ADD that fails for ${what} has changed nothing`, async () => {
      await using tuned = await tunedPod();
      const before = await tuned.state();
      const network = tuned.network({ ...everything, ...keys });
      await assert.rejects(tuned.runner.add(network, { ...tuned.pod, ifName }), { message });
      assert.deepEqual(await tuned.state(), before);
      assert.deepEqual(await tuned.backups(), []);
    });
  }

  test('a second ADD does not hide from DEL what the interface was before the first', async () => {
    await using tuned = await tunedPod();
    const before = await tuned.state();
    await tuned.runner.add(tuned.network(everything), tuned.pod);
    await tuned.runner.add(tuned.network({ mtu: 1200, sysctl: { 'net.ipv4.conf.net1.arp_ignore': '1' } }), tuned.pod);
    await tuned.runner.delete(tuned.network({}), tuned.pod);
    assert.deepEqual(await tuned.state(), before);
  });

  test("a DEL gives back what the containernetworking plugin's ADD has noted", async () => {
    await using tuned = await tunedPod();
    await mkdir(tuned.dataDir);
    await writeFile(join(tuned.dataDir, 'c1_net1.json'), '{\n "mac": "02:00:00:00:01:09",\n "mtu": 1234\n}');
    await tuned.runner.delete(tuned.network({}), tuned.pod);
    const { address, mtu } = await tuned.state();
    assert.deepEqual([address, mtu, await tuned.backups()], ['02:00:00:00:01:09', 1234, []]);
  });

  for (const torn of ['', '{"mtu":', '{"mtu":"x"}']) {
    test(`a DEL passes over a file that says nothing: ${JSON.stringify(torn)}`, async () => {
      await using tuned = await tunedPod();
      await mkdir(tuned.dataDir);
      await writeFile(join(tuned.dataDir, 'c1_net1.json'), torn);
      await tuned.runner.delete(tuned.network({}), tuned.pod);
      assert.deepEqual(await tuned.backups(), []);
    });
  }

  test('what changes is on the disk before it changes: sysctls, too', async () => {
    await using tuned = await tunedPod();
    await tuned.runner.add(tuned.network(everything), tuned.pod);
    assert.deepEqual(JSON.parse(await readFile(join(tuned.dataDir, 'c1_net1.json'), 'utf8')), {
      mac: '02:00:00:00:01:01',
      promisc: false,
      mtu: 1500,
      allmulti: false,
      txQLen: 1000,
      sysctl: { 'ipv4/conf/net1/arp_filter': '0', 'ipv4/conf/net1/arp_ignore': '0' },
    });
  });
});

describe("tuning's list of allowed sysctls", () => {
  const allowed = ['net.ipv4.conf.IFNAME.arp_filter', 'net.core.somaxconn'];
  const names: readonly (readonly [name: string, isAllowed: boolean])[] = [
    ['net.ipv4.conf.IFNAME.arp_filter', true],
    ['net.ipv4.conf.net1.arp_filter', false],
    ['net.ipv4.conf.IFNAME.arp_ignore', false],
  ];
  for (const [name, isAllowed] of names) {
    test(`${name} is ${isAllowed ? 'set' : 'refused, and nothing changed'}`, async () => {
      await using tuned = await tunedPod();
      const before = await tuned.state();
      await writeFile(tuned.allowlist, `\n  ^${allowed.join('$  \n^')}$\n`);
      const adding = tuned.runner.add(tuned.network({ mtu: 1300, sysctl: { [name]: '1' } }), tuned.pod);
      if (isAllowed) {
        await adding;
        assert.equal((await tuned.state()).filter, '1');
      } else {
        await assert.rejects(adding, { code: 7, message: new RegExp(`Sysctl ${name} is not allowed.*somaxconn`) });
        assert.deepEqual(await tuned.state(), before);
      }
    });
  }

  test('one that is no regular expression allows nothing', async () => {
    await using tuned = await tunedPod();
    await writeFile(tuned.allowlist, 'net.(\n');
    const adding = tuned.runner.add(tuned.network({ sysctl: { 'net.core.somaxconn': '1' } }), tuned.pod);
    await assert.rejects(adding, { code: 5, message: /allowlist\.conf: Invalid regular expression/ });
  });
});
