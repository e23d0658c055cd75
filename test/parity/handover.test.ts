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

describe('port mappings are switched over', { concurrency: 2 }, () => {
  for (const backend of ['iptables', 'nftables']) {
    for (const { first, second } of orders) {
      test(`by ${backend}, from ${first} to ${second}`, async () => {
        await using node = await startPlexusNode();
        await ip(node.path, [...wire('ens5'), 'address add 10.1.2.1/24 dev ens5']);
        const calls = { plexus: node.call, go: await goPluginsIn(node.path) };
        const portMappings = [
          { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
          { hostPort: 53, containerPort: 53, protocol: 'udp', hostIP: '10.1.2.1' },
        ];
        const ips = [{ address: '10.1.2.9/24' }, { address: 'fd00:1::9/64' }];
        const prevResult = { cniVersion: '1.1.0', ips };
        const network = { cniVersion: '1.1.0', name: 'test-net', type: 'portmap', backend, prevResult };
        const config = { ...network, runtimeConfig: { portMappings } };
        const netns = '/run/netns/plx-none';

        await run(calls[first], 'ADD', netns, config);
        await run(calls[second], 'CHECK', netns, config);
        await run(calls[second], 'DEL', netns, config);
        await assert.rejects(run(calls[first], 'CHECK', netns, config), /not found|missing hostport rules/);
        const { filter = {} } = await describeNode(node.path);
        const rules = JSON.stringify(filter).replaceAll(/"[^"]*plexus_owners":\[[^\]]*\]/g, '');
        assert.doesNotMatch(rules, /test-net|10\.1\.2\.9|fd00:1::9/);
        // Over what the other has left.
        await run(calls[second], 'ADD', netns, config);
        await run(calls[first], 'CHECK', netns, config);
      });
    }
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
