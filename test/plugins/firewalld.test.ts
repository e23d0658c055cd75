import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { listTable } from '../../src/linux/iptables.ts';
import { ensureCommands, goPlugins } from '../../tools/debian.ts';
import { testDirectory } from '../support/directory.ts';
import { type TestFirewalld, testFirewalld } from '../support/firewalld.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, runner } from './support.ts';

/* firewalld itself needs a machine of its own; a stand-in on a bus of its own takes the calls. */

becomeNode();

let binaries: string;
before(async () => {
  await ensureCommands(['iptables', 'dbus-send']);
  binaries = await goPlugins('1.9');
});

const prevResult = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'br0' }, { name: 'net1', sandbox: '/run/netns/none' }],
  ips: [
    { address: '10.1.2.9/24', interface: 1 },
    { address: 'fd00:1::9/64', interface: 1 },
  ],
};

const pod = attachment('');

async function onBus(work: (firewalld: TestFirewalld, dataDir: string) => Promise<void>): Promise<void> {
  await using firewalld = await testFirewalld();
  await using directory = await testDirectory();
  process.env['DBUS_SYSTEM_BUS_ADDRESS'] = firewalld.address;
  try {
    await work(firewalld, directory.path);
  } finally {
    delete process.env['DBUS_SYSTEM_BUS_ADDRESS'];
  }
}

/** The original, which the tests' node is no concern of: it only speaks to the bus. */
function original(command: string, keys: object): Promise<unknown> {
  const env = {
    ...process.env,
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '/run/netns/none',
    CNI_IFNAME: 'net1',
    CNI_PATH: binaries,
  };
  return new Promise((resolve, reject) => {
    const child = execFile(join(binaries, 'firewall'), { env }, (error, stdout) =>
      error === null ? resolve(stdout) : reject(new Error(stdout)),
    );
    child.stdin?.end(JSON.stringify(config('firewall', { ...keys, prevResult })));
  });
}

describe('by firewalld', () => {
  for (const backend of ['firewalld', ''])
    test(`backend "${backend}": the calls are the original's, and each takes back what the other did`, async () => {
      await onBus(async ({ calls, sources }, dataDir) => {
        const own = config('firewall', { backend, dataDir, prevResult });
        await original('ADD', { backend });
        const expected = [...calls.splice(0)];
        sources.clear();
        assert.deepEqual(await runner.add(own, pod), await runner.add(config('passthru', { prevResult }), pod));
        assert.deepEqual(calls.splice(0), expected);
        assert.deepEqual([...sources], ['trusted 10.1.2.9/32', 'trusted fd00:1::9/128']);
        await original('CHECK', { backend });
        await original('DEL', { backend });
        assert.deepEqual([...sources], []);
        await original('ADD', { backend });
        await runner.check(own, pod);
        await runner.delete(own, pod);
        assert.deepEqual([...sources], []);
        await runner.delete(own, pod);
        assert.deepEqual([...new Set((await listTable(4, 'filter')).map((line) => line.slice(0, 2)))], ['-P']);
      });
    });

  test('a zone by its name; a source that is there already is no error, one that is gone fails at CHECK', async () => {
    await onBus(async ({ sources }, dataDir) => {
      const own = config('firewall', { backend: 'firewalld', firewalldZone: 'pods', dataDir, prevResult });
      await runner.add(own, pod);
      await runner.add(own, pod);
      assert.deepEqual([...sources], ['pods 10.1.2.9/32', 'pods fd00:1::9/128']);
      sources.delete('pods fd00:1::9/128');
      await assert.rejects(runner.check(own, pod), {
        message: 'failed to find the address fd00:1::9/128 in pods zone',
      });
      await runner.delete(own, pod);
      assert.deepEqual([...sources], []);
    });
  });

  test('a DEL without the result, in another configuration, empties the zone of the ADD', async () => {
    await onBus(async ({ sources }, dataDir) => {
      await runner.add(config('firewall', { backend: '', firewalldZone: 'pods', dataDir, prevResult }), pod);
      await runner.delete(config('firewall', { backend: 'iptables', dataDir }), pod);
      assert.deepEqual([...sources], []);
    });
  });

  for (const [what, keys, source, message] of [
    [
      'an unknown zone',
      { firewalldZone: 'none' },
      '',
      /failed to add the address 10\.1\.2\.9\/32 to none zone: .*INVALID_ZONE/,
    ],
    ["a source of another's zone", {}, 'pods fd00:1::9/128', /fd00:1::9\/128 to trusted zone: .*ZONE_CONFLICT/],
  ] as const) {
    test(`an ADD fails for ${what}, and leaves nothing`, async () => {
      await onBus(async ({ sources }, dataDir) => {
        if (source !== '') sources.add(source);
        const own = config('firewall', { backend: 'firewalld', dataDir, prevResult, ...keys });
        await assert.rejects(runner.add(own, pod), { message });
        assert.deepEqual([...sources], source === '' ? [] : [source]);
        await runner.delete(own, pod);
        assert.deepEqual([...sources], source === '' ? [] : [source]);
      });
    });
  }

  test("a bridge's policy is of iptables", async () => {
    await onBus(async ({ sources }, dataDir) => {
      const own = config('firewall', { backend: 'firewalld', ingressPolicy: 'isolated', dataDir, prevResult });
      await runner.add(own, pod);
      await runner.check(own, pod);
      for (const family of [4, 6] as const) {
        const rules = await listTable(family, 'filter');
        assert.ok(rules.some((rule) => /^-A CNI-ISOLATION-STAGE-1 -i br0 -o br0 .*-j DROP$/.test(rule)));
        assert.ok(!rules.some((rule) => rule.includes('CNI-FORWARD')));
      }
      await runner.delete(own, pod);
      assert.deepEqual([...sources], []);
    });
  });

  test('a DEL once firewalld is gone succeeds', async () => {
    await using directory = await testDirectory();
    const own = config('firewall', { backend: 'firewalld', dataDir: directory.path, prevResult });
    await onBus(async () => void (await runner.add(own, pod)));
    process.env['DBUS_SYSTEM_BUS_ADDRESS'] = 'unix:path=/nowhere';
    try {
      await runner.delete(own, pod);
      await assert.rejects(runner.add(own, pod), { message: /failed to add the address 10\.1\.2\.9\/32/ });
    } finally {
      delete process.env['DBUS_SYSTEM_BUS_ADDRESS'];
    }
  });
});
