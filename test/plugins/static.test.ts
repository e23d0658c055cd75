import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { attachment, config, runner, withResult } from './support.ts';

interface Given {
  readonly ipam?: JsonObject;
  readonly keys?: JsonObject;
  readonly args?: string;
  readonly cniVersion?: string;
}

const network = ({ ipam = {}, keys = {}, cniVersion = '1.1.0' }: Given) =>
  config('static', { cniVersion, ipam: { type: 'static', ...ipam }, ...keys });

const add = (given: Given) => runner.add(network(given), attachment('/run/netns/none', { args: given.args ?? '' }));

const configured = { addresses: [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }] };

describe('what an ADD returns', () => {
  test('the addresses, routes and dns of the configuration', async () => {
    const routes = [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9', mtu: 1400, scope: 0, table: 100 }];
    const dns = { nameservers: ['10.1.2.53'], domain: 'a', search: ['b'], options: ['x:1'] };
    const addresses = [...configured.addresses, { address: '3ffe:ffff:0:01ff::1/64', gateway: '' }];
    const result = await add({ ipam: { addresses, routes, dns } });
    assert.deepEqual(JSON.parse(JSON.stringify(result)), {
      interfaces: [],
      ips: [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }, { address: '3ffe:ffff:0:1ff::1/64' }],
      routes,
      dns,
    });
  });

  test('nothing, where nothing is configured', async () => {
    assert.deepEqual(await add({}), { interfaces: [], ips: [], routes: [], dns: {} });
  });

  const sources: readonly { readonly what: string; readonly given: Given; readonly ips: readonly object[] }[] = [
    {
      what: 'CNI_ARGS add to the configuration; a gateway counts for the addresses whose network it is in',
      given: { ipam: configured, args: 'IP=10.9.0.7/16, fd00::7/64;GATEWAY=fd00::1,10.9.0.1,192.0.2.1' },
      ips: [
        { address: '10.1.2.5/24', gateway: '10.1.2.1' },
        { address: '10.9.0.7/16', gateway: '10.9.0.1' },
        { address: 'fd00::7/64', gateway: 'fd00::1' },
      ],
    },
    {
      what: 'args.cni.ips replace both',
      given: { ipam: configured, keys: { args: { cni: { ips: ['10.8.0.7/16'] } } }, args: 'IP=10.9.0.7/16' },
      ips: [{ address: '10.8.0.7/16' }],
    },
    {
      what: 'runtimeConfig.ips replace all',
      given: {
        ipam: configured,
        keys: { args: { cni: { ips: ['10.8.0.7/16'] } }, runtimeConfig: { ips: ['10.7.0.7/16', 'fd00::7/64'] } },
        args: 'IgnoreUnknown=1;K8S_POD_NAME=p;IP=10.9.0.7/16',
      },
      ips: [{ address: '10.7.0.7/16' }, { address: 'fd00::7/64' }],
    },
    {
      what: 'empty lists replace nothing',
      given: {
        ipam: configured,
        keys: { args: { cni: { ips: [] } }, runtimeConfig: { ips: [] } },
        args: 'IP=;GATEWAY=',
      },
      ips: [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }],
    },
  ];
  for (const { what, given, ips } of sources) {
    test(what, async () => assert.deepEqual((await add(given)).ips, ips));
  }
});

describe('what is refused', () => {
  const two = { addresses: [{ address: '10.1.2.5/24' }, { address: '10.1.3.5/24' }] };
  const refused: readonly { readonly what: string; readonly given: Given; readonly message: RegExp }[] = [
    {
      what: 'no ipam',
      given: { keys: { ipam: null } },
      message: /network "test-net": ipam: IPAM config missing 'ipam' key$/,
    },
    {
      what: 'an address without its prefix',
      given: { ipam: { addresses: [{ address: '10.1.2.5' }] } },
      message: /ipam\.addresses\[0\]\.address: expected an address with its prefix, such as .*, found "10\.1\.2\.5"$/,
    },
    {
      what: 'a gateway that is none',
      given: { ipam: { addresses: [{ address: '10.1.2.5/24', gateway: '10.1.2' }] } },
      message: /ipam\.addresses\[0\]\.gateway: expected "" or an IP address, found "10\.1\.2"$/,
    },
    {
      what: 'a runtimeConfig without a prefix',
      given: { keys: { runtimeConfig: { ips: ['10.1.2.5'] } } },
      message: /runtimeConfig\.ips\[0\]: expected an address with its prefix/,
    },
    { what: 'an IP of CNI_ARGS that is none', given: { args: 'IP=10.1.2.5' }, message: /invalid CIDR 10\.1\.2\.5: / },
    {
      what: 'a GATEWAY of CNI_ARGS that is none',
      given: { args: 'IP=10.1.2.5/24;GATEWAY=x' },
      message: /invalid gateway address: x$/,
    },
    { what: 'an argument nobody knows', given: { args: 'FOO=1' }, message: /^ARGS: unknown args \["FOO=1"\]$/ },
    {
      what: 'two addresses of a family in an old version',
      given: { ipam: two, cniVersion: '0.2.0' },
      message: /^CNI version 0\.2\.0 does not support more than 1 address per family$/,
    },
    {
      what: 'more addresses than an interface could need',
      given: { keys: { runtimeConfig: { ips: new Array(65).fill('10.1.2.5/24') } } },
      message: /runtimeConfig\.ips: expected at most 64 entries/,
    },
  ];
  for (const { what, given, message } of refused) {
    test(what, () => assert.rejects(add(given), { name: 'CniError', message }));
  }
});

describe('what a CHECK finds', () => {
  const check = (ips: { address: string; gateway?: string }[], cniVersion?: string) => {
    const given = { ipam: configured, ...(cniVersion !== undefined && { cniVersion }) };
    const checked = withResult(network(given), { interfaces: [], ips, routes: [], dns: {} });
    return runner.check(checked, attachment('/run/netns/none'));
  };

  test('the address with its gateway is in order, beside others too', async () => {
    await check([{ address: '10.9.0.7/16' }, { address: '10.1.2.5/24', gateway: '10.1.2.1' }]);
  });

  test('another gateway and a missing address are not', async () => {
    await assert.rejects(
      check([{ address: '10.1.2.5/24', gateway: '10.1.2.9' }]),
      /^CniError: static: Failed to match addr 10\.1\.2\.5 with gateway 10\.1\.2\.1 on interface net1$/,
    );
    await assert.rejects(check([{ address: '10.1.2.6/24' }]), /Failed to match addr/);
  });

  test('without a result there is nothing to check', async () => {
    const call = runner.check(network({ ipam: configured }), attachment('/run/netns/none'));
    await assert.rejects(call, { message: 'Required prevResult missing', code: 7 });
  });
});

test('a DEL needs nothing, not even a configuration that makes sense', async () => {
  for (const ipam of [configured, { addresses: 'x' }]) {
    await runner.delete(network({ ipam }), attachment(''));
  }
});
