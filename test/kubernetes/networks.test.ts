import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { NetworkNotFoundError, Networks } from '../../src/kubernetes/networks.ts';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import { networkAttachmentDefinitions as resource } from '../../src/playground/api/resources.ts';
import { network } from '../playground-api/manifests.ts';
import { quick, silent, until } from './playground.ts';
import { onEachServer } from './server.ts';

const options = { timeout: 60_000 };

const names = (count: number) => Array.from({ length: count }, (_, index) => network(`net-${index + 10}`));

await onEachServer((server) => {
  async function watched(...objects: KubernetesObject[]) {
    const given = await server.start(objects);
    const { admin, client, proxy } = given;
    const networks = new Networks({ client, log: silent, timings: quick });
    return {
      proxy,
      admin,
      networks,
      async [Symbol.asyncDispose]() {
        await networks[Symbol.asyncDispose]();
        await given[Symbol.asyncDispose]();
      },
    };
  }

  test('a network is answered from the watch, and one that this has not seen yet is fetched', options, async () => {
    await using running = await watched(network('a', '{"type":"macvlan"}', 'team'));
    const { proxy, admin, networks } = running;
    await until(() => networks.watch.live);
    proxy.fault({ fail: 'InternalError', match: (_method, url) => url.includes('/namespaces/team/') });
    assert.equal((await networks.get('team', 'a')).spec.config, '{"type":"macvlan"}');
    proxy.clearFaults();
    proxy.freezeWatches();
    await admin.create(network('late', '{}', 'team'));
    assert.equal((await networks.get('team', 'late')).metadata.name, 'late');
  });

  test('the configuration is the bytes that were written, also where there is none', options, async () => {
    const config = '{ "type":"macvlan",\n\t"mtu" : 1e3, "type":"again" }';
    const bare = { ...network('bare'), spec: undefined };
    await using running = await watched(network('a', config), bare);
    const { networks } = running;
    await until(() => networks.watch.live);
    assert.equal((await networks.get('default', 'a')).spec.config, config);
    assert.equal((await networks.get('default', 'bare')).spec.config, '');
  });

  for (const { what, objects, told } of [
    { what: 'the networks that there are', objects: names(2), told: ': the namespace has net-10, net-11' },
    {
      what: 'ten of the networks that there are',
      objects: names(12),
      told: ': the namespace has net-10, net-11, net-12, net-13, net-14, net-15, net-16, net-17, net-18, net-19 and 2 more',
    },
    {
      what: 'that there are none, whatever other namespaces have',
      objects: [network('a', '{}', 'secret')],
      told: ': the namespace has none',
    },
  ]) {
    test(`who asks for a network that does not exist is told ${what}`, options, async () => {
      await using running = await watched(...objects);
      const { networks } = running;
      await until(() => networks.watch.live);
      await assert.rejects(networks.get('default', 'nope'), (error) => {
        assert.ok(error instanceof NetworkNotFoundError);
        assert.equal(error.code, 7);
        assert.equal(error.message, `cannot find a network-attachment-definition (nope) in namespace (default)${told}`);
        return true;
      });
    });
  }

  test('what there is, is not claimed to be nothing before it is known', options, async () => {
    await using given = await server.start([network('a')]);
    const { client, proxy } = given;
    proxy.fault({ match: (_method, url) => !url.includes('/namespaces/'), hang: true });
    await using networks = new Networks({ client, log: silent, timings: quick });
    await assert.rejects(networks.get('default', 'nope'), {
      message: 'cannot find a network-attachment-definition (nope) in namespace (default)',
    });
  });

  test(
    'while the server is away a network is as it was last seen, one not seen is to be tried again',
    options,
    async () => {
      await using running = await watched(network('a', '1'));
      const { proxy, admin, networks } = running;
      await until(() => networks.watch.live);
      await proxy.restart(async () => {
        await until(() => !networks.watch.live);
        assert.equal((await networks.get('default', 'a')).spec.config, '1');
        await assert.rejects(networks.get('default', 'b'), (error) => {
          assert.ok(error instanceof CniError && !(error instanceof NetworkNotFoundError));
          assert.equal(error.code, 11);
          return true;
        });
        await admin.change(resource, 'default', 'a', { spec: { config: '2' } });
      });
      await until(() => networks.watch.live);
      await until(() => networks.watch.get('default', 'a')?.spec.config === '2');
    },
  );
});
