import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { until } from '../kubernetes/playground.ts';
import { onEachServer } from '../kubernetes/server.ts';
import { pod } from '../playground-api/manifests.ts';
import { ip } from '../plugins/support.ts';
import type { ProxyFault } from '../support/fault-proxy.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type ClusterNode, startClusterNode } from './cluster-node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const options = { timeout: 120_000 };

/** When something goes wrong, by the request that meets it. The ADD is of a pod that asks for net-b. */
const moments: ReadonlyArray<{
  readonly what: string;
  readonly match: (method: string, url: string) => boolean;
  /** Brings it about that there is such a request. */
  readonly lead?: (node: ClusterNode) => void;
}> = [
  { what: 'at whatever is asked first', match: () => true },
  {
    what: 'as the pod is fetched',
    match: (method, url) => method === 'GET' && /\/namespaces\/default\/pods\/app$/.test(url),
  },
  {
    what: 'as the network is fetched',
    match: (method, url) => method === 'GET' && /\/network-attachment-definitions\/net-b$/.test(url),
  },
  { what: 'as the status is written', match: (method) => method === 'PATCH' },
  { what: 'as an event is written', match: (method, url) => method === 'POST' && url.endsWith('/events') },
  {
    what: 'as the watches come back',
    match: (_method, url) => url.includes('watch=true'),
    lead: ({ proxy }) => proxy.cutWatches(),
  },
];

/** What goes wrong. */
const faults: ReadonlyArray<{
  readonly what: string;
  readonly fault: (node: ClusterNode) => ProxyFault;
  /** It lasts until an ADD has failed of it, or has not. */
  readonly lasts?: true;
  /** No repetition is due: an event that is met is not written. */
  readonly final?: true;
}> = [
  { what: '500, twice', fault: () => ({ fail: 'InternalError', times: 2 }) },
  { what: '500, for as long as it lasts', fault: () => ({ fail: 'InternalError', times: 1e9 }), lasts: true },
  { what: '409, twice', fault: () => ({ fail: 'Conflict', times: 2 }), final: true },
  { what: '410', fault: () => ({ fail: 'Expired' }), final: true },
  {
    what: '429 with a wish to be left alone for an hour',
    fault: () => ({ fail: 'TooManyRequests', retryAfterSeconds: 3600 }),
  },
  { what: 'no answer in time', fault: () => ({ hang: true }) },
  { what: 'a connection that is closed, twice', fault: () => ({ reset: true, times: 2 }) },
  { what: 'an answer that is lost', fault: () => ({ lost: true }) },
  { what: 'an answer that is no JSON', fault: () => ({ body: '<html>' }), final: true },
  { what: 'a restart', fault: ({ proxy }) => ({ met: () => proxy.restart() }) },
];

/** What a kubelet does: a sandbox whose ADD failed is taken down, and another tried. @returns How many failed. */
async function addAsKubelet(node: ClusterNode): Promise<number> {
  for (let failed = 0; failed < 5; failed++) {
    const { exitStatus, stdout } = await node.call('ADD');
    if (exitStatus === 0) return failed;
    assert.notEqual(stdout, '', 'a failure says why');
    const held = await node.held();
    assert.deepEqual(held, { links: [], addresses: [], journal: [] }, `left behind: ${stdout}`);
    node.proxy.clearFaults();
    assert.deepEqual(await node.call('DEL'), { exitStatus: 0, stdout: '' });
  }
  return assert.fail('ADD never succeeds');
}

await onEachServer((server) => {
  for (const { what: when, match, lead } of moments) {
    for (const { what, fault, lasts, final } of faults) {
      test(`${what}, ${when}: no attachment is lost, nor what is told of it`, options, async () => {
        const wanted = pod('app', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'net-b' } });
        await using node = await startClusterNode(server, wanted);
        const { proxy } = node;
        // The copies are behind: what is asked for must be fetched.
        proxy.freezeWatches();
        await node.admin.create(node.network('net-b', '10.2.0.0/24'));
        let met = 0;
        const { met: then, ...own } = fault(node);
        proxy.fault({ match, ...own, met: () => [met++, then?.()][1] });
        lead?.(node);

        const failed = await addAsKubelet(node);
        await until(() => met > 0);
        if (lasts) proxy.clearFaults();
        const found = await node.interfaces();
        assert.deepEqual(
          found.map((each) => each.split(' ')[0]),
          ['eth0', 'net1'],
        );
        assert.deepEqual(await node.status(), found);
        if (!final || failed > 0 || !when.includes('event')) {
          const told = ['Add eth0', 'Add net1'];
          await until(async () => {
            const events = await node.events();
            return told.every((each) => events.some((event) => event.startsWith(`AddedInterface: ${each}`)));
          });
        }

        assert.deepEqual(await node.call('DEL'), { exitStatus: 0, stdout: '' });
        assert.deepEqual(await node.held(), { links: [], addresses: [], journal: [] });
      });
    }
  }
}, 6);
