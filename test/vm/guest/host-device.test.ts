import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { JsonObject } from '../../../src/cni/json.ts';
import { attachment, config, ip, runner } from '../../plugins/support.ts';
import { testNamespace } from '../../support/namespace.ts';

const run = promisify(execFile);

/* Hardware, which outlives the namespace that it is in: a network card of the VM, which is the node here. */

/** Milliseconds between looks, and looks at most, at what the kernel does by itself. */
const interval = 100;
const maxLooks = 300;

interface Card {
  readonly address: string;
  readonly name: string;
  readonly mac: string;
}

describe('host-device on hardware', () => {
  let card: Card;

  before(async () => {
    await run('modprobe', ['virtio_net']);
    card = await eventually(findCard);
  });

  const selections = [
    { by: 'its PCI address', keys: () => ({ pciBusID: card.address }) },
    { by: 'its PCI address, from a device plugin', keys: () => ({ runtimeConfig: { deviceID: card.address } }) },
    { by: 'its hardware address', keys: () => ({ hwaddr: card.mac }) },
    { by: 'its name', keys: () => ({ device: card.name }) },
  ];
  for (const { by, keys } of selections) {
    test(`a card is found by ${by}, goes to a pod and comes back`, async () => {
      await using pod = await testNamespace();
      const network = config('host-device', keys());
      const { interfaces } = await runner.add(network, attachment(pod.path));
      assert.deepEqual(interfaces, [{ name: 'net1', mac: card.mac, sandbox: pod.path }]);
      assert.deepEqual(await namesOf(card), []);
      assert.deepEqual(await namesOf(card, pod.path), ['net1']);
      for (const _ of [1, 2]) await runner.delete(network, attachment(pod.path));
      assert.deepEqual(await namesOf(card), [card.name]);
    });

    for (const taken of [false, true]) {
      const how = taken ? ' under a name of the kernel, since its own is taken' : '';
      test(`a card found by ${by} that came back${how} when its namespace ended gets its name from DEL`, async () => {
        await using stack = new AsyncDisposableStack();
        if (taken) {
          await ip(undefined, 'link', 'add', 'net1', 'type', 'dummy');
          stack.defer(() => ip(undefined, 'link', 'del', 'net1').then(() => undefined));
        }
        const pod = await testNamespace();
        const network = config('host-device', keys());
        await runner.add(network, attachment(pod.path));
        await pod[Symbol.asyncDispose]();
        const [name = ''] = await eventually(async () => {
          const names = await namesOf(card);
          return names.length > 0 ? names : undefined;
        });
        assert.match(name, taken ? /^dev\d+$/ : /^net1$/);
        for (const _ of [1, 2]) await runner.delete(network, attachment(pod.path));
        const [link, ...others] = await linksOf(card);
        assert.equal(link?.['ifname'], card.name);
        assert.equal(link?.['ifalias'], undefined);
        assert.deepEqual(others, []);
      });
    }
  }
});

/** The PCI device of the VM's network card, by the bus that virtio puts between it and its interface. */
async function findCard(): Promise<Card | undefined> {
  for (const address of await readdir('/sys/bus/pci/devices')) {
    const buses = await readdir(`/sys/bus/pci/devices/${address}`);
    for (const bus of buses.filter((each) => /^virtio\d+$/.test(each))) {
      const [name] = await readdir(`/sys/bus/pci/devices/${address}/${bus}/net`).catch(() => []);
      if (name === undefined) continue;
      const [link] = await ip(undefined, 'link', 'show', name);
      return { address, name, mac: String(link?.['address']) };
    }
  }
  return undefined;
}

async function linksOf({ mac }: Card, netns?: string): Promise<JsonObject[]> {
  return (await ip(netns, 'link')).filter((link) => link['address'] === mac);
}

async function namesOf(card: Card, netns?: string): Promise<string[]> {
  return (await linksOf(card, netns)).map((link) => String(link['ifname']));
}

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let looks = 0; looks < maxLooks; looks++) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await sleep(interval);
  }
  throw new Error('what was waited for did not happen');
}
