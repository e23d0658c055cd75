import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, ip, runner } from './support.ts';

becomeNode();
before(() => addWire('ens5'));

/** An IPAM plugin that looks at the interface, as dhcp does, and gives who comes again the same address. */
const ipamPlugin = `#!/bin/sh
echo "$CNI_COMMAND" >>"$(dirname "$0")/calls"
[ "$CNI_COMMAND" = ADD ] || exit 0
nsenter --net="$CNI_NETNS" ip link show "$CNI_IFNAME" >/dev/null || exit 1
echo '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.7/24"}]}'
`;

async function executedIpam() {
  const directory = await mkdtemp(join(tmpdir(), 'plx-test-'));
  await writeFile(join(directory, 'looks-at-it'), ipamPlugin, { mode: 0o755 });
  return {
    path: [directory],
    calls: async () => (await readFile(join(directory, 'calls'), 'utf8')).trim().split('\n'),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

test('an IPAM plugin that may need the interface is called once it is there', async () => {
  await using ipam = await executedIpam();
  await using pod = await testNamespace();
  const network = config('macvlan', { master: 'ens5', ipam: { type: 'looks-at-it' } });
  const result = await runner.add(network, { ...attachment(pod.path), path: ipam.path });
  assert.deepEqual(result.ips, [{ address: '10.1.2.7/24', interface: 0 }]);
});

test('an ADD that is repeated is refused, and does not release the addresses of the first', async () => {
  await using ipam = await executedIpam();
  await using pod = await testNamespace();
  const network = config('macvlan', { master: 'ens5', ipam: { type: 'looks-at-it' } });
  const place = { ...attachment(pod.path), path: ipam.path };
  await runner.add(network, place);
  await assert.rejects(runner.add(network, place), /interface "net1" already exists in/);
  assert.deepEqual(await ipam.calls(), ['ADD']);
  assert.equal((await ip(pod.path, 'link')).length, 2);
});
