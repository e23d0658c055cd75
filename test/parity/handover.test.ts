import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import { testDirectory } from '../support/directory.ts';
import { wire } from './case.ts';
import { goPluginsIn, ip, networkNamespace, type ParityNode, startPlexusNode } from './node.ts';
import { describeNode } from './snapshot.ts';

/*
 * A node is switched over while pods run: what one has added the other finds in order and takes back, either way. What
 * stays on the node where one of them does both may stay here, too: a bridge, forwarding, empty chains.
 */

const subnet = '10.1.2.0/24';
const both = { ranges: [[{ subnet }], [{ subnet: 'fd00:1::/64' }]] };

const networks: readonly (JsonObject & { readonly type: string })[] = [
  { type: 'bridge', bridge: 'br0', isGateway: true, macspoofchk: true, ipam: both },
  { type: 'bridge', bridge: 'br0', isGateway: true, ipMasq: true, ipMasqBackend: 'iptables', ipam: both },
  {
    type: 'bridge',
    bridge: 'br0',
    isGateway: true,
    ipMasq: true,
    ipMasqBackend: 'nftables',
    ipam: { ranges: [[{ subnet }]] },
  },
  { type: 'ptp', ipMasq: true, ipMasqBackend: 'iptables', ipam: both },
  { type: 'macvlan', master: 'ens5', ipam: both },
  { type: 'host-device', device: 'ens5', ipam: both },
];

const orders = [
  { first: 'go', second: 'plexus' },
  { first: 'plexus', second: 'go' },
] as const;

describe('a node is switched over', { concurrency: 2 }, () => {
  for (const { ipam, ...network } of networks) {
    for (const { first, second } of orders) {
      test(`${JSON.stringify(network)}, from ${first} to ${second}`, async () => {
        await using node = await startPlexusNode();
        await using pod = await networkNamespace();
        await using data = await testDirectory();
        await ip(node.path, wire('ens5'));
        const before = await describeNode(node.path);
        const calls = { plexus: node.call, go: await goPluginsIn(node.path) };
        const files = { type: 'host-local', dataDir: data.path, ...(isJsonObject(ipam) && ipam) };
        const config = { cniVersion: '1.1.0', name: 'test-net', ...network, ipam: files };

        const prevResult = await run(calls[first], 'ADD', pod.path, config);
        await run(calls[second], 'CHECK', pod.path, { ...config, prevResult });
        const isKnownToFail = second === 'go' && network['ipMasqBackend'] === 'nftables'; // differences.ts: masquerade-del
        const end = run(calls[second], 'DEL', pod.path, { ...config, prevResult });
        if (isKnownToFail) await assert.rejects(end, /iptables/);
        else await end;

        assert.deepEqual(Object.keys(linksOf(await describeNode(pod.path))), ['lo']);
        assert.deepEqual(
          Object.keys(linksOf(await describeNode(node.path))).filter((name) => name !== 'br0'),
          Object.keys(linksOf(before)),
        );
        const { filter = {} } = await describeNode(node.path);
        assert.doesNotMatch(JSON.stringify(filter), /test-net|10\.1\.2\./);
        // Its addresses may be had again, all of them.
        await run(calls[first], 'ADD', pod.path, { ...config, ipam: { ...files, ...lastOnly } }, 'c2', 'net2').catch(
          (error: unknown) => assert.fail(`the address is still reserved: ${error}`),
        );
      });
    }
  }
});

test('a node is switched over, there and back, with a firewall between', { concurrency: 2 }, async (t) => {
  for (const { first, second } of orders) {
    await t.test(`from ${first} to ${second}`, async () => {
      await using node = await startPlexusNode();
      await using data = await testDirectory();
      const calls = { plexus: node.call, go: await goPluginsIn(node.path) };
      const firewall = {
        cniVersion: '1.1.0',
        name: 'test-net',
        type: 'firewall',
        backend: 'iptables',
        ingressPolicy: 'isolated',
        dataDir: data.path,
      };
      const withPod = (host: number): JsonObject & { readonly type: string } => ({
        ...firewall,
        prevResult: {
          cniVersion: '1.1.0',
          interfaces: [{ name: 'br0' }, { name: 'net1', sandbox: '/run/netns/none' }],
          ips: [`10.1.2.${host}/24`, `fd00:1::${host}/64`].map((address) => ({ address, interface: 1 })),
        },
      });
      await run(calls[first], 'ADD', '/run/netns/none', withPod(2));
      await run(calls[second], 'ADD', '/run/netns/none', withPod(3), 'c2');
      await run(calls[second], 'CHECK', '/run/netns/none', withPod(2));
      const { filter: twoPods } = await describeNode(node.path);
      await run(calls[first], 'ADD', '/run/netns/none', withPod(3), 'c2');
      assert.deepEqual((await describeNode(node.path))['filter'], twoPods);
      await run(calls[second], 'DEL', '', withPod(2));
      await run(calls[first], 'DEL', '', withPod(3), 'c2');
      const { filter = {} } = await describeNode(node.path);
      assert.match(JSON.stringify(filter), /CNI-ISOLATION-STAGE-1 -i br0 -o br0/);
      assert.doesNotMatch(JSON.stringify(filter), /10\.1\.2\.|fd00:1::/);
    });
  }
});

/** Only the address that the first container had. */
const lastOnly = { ranges: [[{ subnet, rangeStart: '10.1.2.2', rangeEnd: '10.1.2.2' }]] };

async function run(
  call: ParityNode['call'],
  command: string,
  netns: string,
  config: JsonObject & { readonly type: string },
  containerId = 'c1',
  ifName = 'net1',
): Promise<JsonObject> {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: containerId, CNI_IFNAME: ifName, CNI_NETNS: netns };
  const { failed, stdout } = await call(config.type, env, JSON.stringify(config));
  if (failed) throw new Error(`${command}: ${stdout}`);
  const printed: unknown = stdout === '' ? {} : JSON.parse(stdout);
  return isJsonObject(printed) ? printed : {};
}

const linksOf = ({ links }: JsonObject): JsonObject => (isJsonObject(links) ? links : {});
