import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decodeResult, encodeResult, readPrevResult, renderResult } from '../../src/cni/convert.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { emptyResult, type Result } from '../../src/cni/result.ts';
import { cniVersions } from '../../src/cni/version.ts';
import { netConfig, thrownBy } from './support.ts';

const dualStack: Result = {
  interfaces: [
    { name: 'br0', mac: '02:00:00:00:00:01', mtu: 1500 },
    {
      name: 'net1',
      mac: '02:00:00:00:00:02',
      mtu: 1500,
      sandbox: '/run/netns/a',
      pciID: '0000:00:05.0',
      socketPath: '/s',
    },
  ],
  ips: [
    { address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 1 },
    { address: 'fd00::2/64', gateway: 'fd00::1', interface: 1 },
    { address: '10.1.0.2/24', interface: 1 },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1400, table: 100 }, { dst: '::/0' }, { dst: '10.9.0.0/16' }],
  dns: { nameservers: ['10.0.0.1'], search: ['x.y'] },
};

describe('what a plugin prints', () => {
  test('1.1.0: keys in alphabetical order', () => {
    const expected = `{
    "cniVersion": "1.1.0",
    "dns": {
        "nameservers": [
            "10.0.0.1"
        ]
    },
    "interfaces": [
        {
            "mac": "02:00:00:00:00:02",
            "name": "net1",
            "sandbox": "/run/netns/a"
        }
    ],
    "ips": [
        {
            "address": "10.0.0.2/24",
            "gateway": "10.0.0.1",
            "interface": 0
        }
    ]
}`;
    const result: Result = {
      interfaces: [{ name: 'net1', mac: '02:00:00:00:00:02', sandbox: '/run/netns/a', mtu: undefined }],
      ips: [{ address: '10.0.0.2/24', interface: 0, gateway: '10.0.0.1' }],
      routes: [],
      dns: { nameservers: ['10.0.0.1'] },
    };
    assert.equal(renderResult(result, '1.1.0'), expected);
  });

  const compactly = (version: string, result: Result = dualStack): string =>
    JSON.stringify(encodeResult(result, version));

  test('0.4.0: ips say their version, dns is always there, interfaces have three keys', () => {
    assert.equal(
      compactly('0.4.0'),
      '{"cniVersion":"0.4.0","interfaces":[{"name":"br0","mac":"02:00:00:00:00:01"},' +
        '{"name":"net1","mac":"02:00:00:00:00:02","sandbox":"/run/netns/a"}],' +
        '"ips":[{"version":"4","interface":1,"address":"10.0.0.2/24","gateway":"10.0.0.1"},' +
        '{"version":"6","interface":1,"address":"fd00::2/64","gateway":"fd00::1"},' +
        '{"version":"4","interface":1,"address":"10.1.0.2/24"}],' +
        '"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1","mtu":1400,"table":100},{"dst":"::/0"},{"dst":"10.9.0.0/16"}],' +
        '"dns":{"nameservers":["10.0.0.1"],"search":["x.y"]}}',
    );
    assert.equal(compactly('0.3.0', emptyResult), '{"cniVersion":"0.3.0","dns":{}}');
  });

  test('0.2.0: the first address of each family, with its routes', () => {
    assert.equal(
      compactly('0.2.0'),
      '{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1",' +
        '"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"10.9.0.0/16"}]},' +
        '"ip6":{"ip":"fd00::2/64","gateway":"fd00::1","routes":[{"dst":"::/0"}]},' +
        '"dns":{"nameservers":["10.0.0.1"],"search":["x.y"]}}',
    );
  });

  for (const version of ['0.1.0', '0.2.0']) {
    test(`${version} has no form for an interface without an address`, () => {
      const layer2: Result = { ...emptyResult, interfaces: [{ name: 'net1' }] };
      assert.deepEqual(thrownBy(() => encodeResult(layer2, version)).slice(0, 2), [
        999,
        'cannot convert: no valid IP addresses',
      ]);
      assert.deepEqual(encodeResult(emptyResult, version), { cniVersion: version, dns: {} });
    });
  }

  test('1.0.0 and 1.1.0 leave out what is empty', () => {
    assert.equal(compactly('1.0.0', emptyResult), '{"cniVersion":"1.0.0"}');
  });
});

describe('what a plugin printed', () => {
  const aws: JsonObject = {
    cniVersion: '0.4.0',
    interfaces: [
      { name: 'eni0' },
      { name: 'eth0', mac: '254', sandbox: '/n' },
      { name: 'dummy0', mac: '0', sandbox: '0' },
    ],
    ips: [{ version: '4', interface: 1, address: '10.0.1.5/32' }],
    dns: {},
  };

  test('odd values pass untouched', () => {
    assert.equal(JSON.stringify(encodeResult(decodeResult(aws, '0.4.0', 'aws-cni'), '0.4.0')), JSON.stringify(aws));
  });

  test('unknown keys are kept, at every depth', () => {
    const json: JsonObject = {
      cniVersion: '1.1.0',
      interfaces: [{ metadata: { a: null }, name: 'net1' }],
      ips: [{ address: '10.0.0.2/24', label: 'x' }],
      routes: [{ dst: '0.0.0.0/0', proto: 4 }],
      vendor: { deep: [1, null] },
    };
    const result = decodeResult(json, '1.1.0', 's');
    assert.deepEqual(result.extra, { vendor: { deep: [1, null] } });
    assert.equal(JSON.stringify(encodeResult(result, '1.1.0')), JSON.stringify(json));
    for (const version of cniVersions) {
      assert.deepEqual(encodeResult(result, version)['vendor'], { deep: [1, null] }, version);
    }
  });

  test('null and empty text count as absent, as Go writes them', () => {
    const json: JsonObject = {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'net1', mac: '', sandbox: null }],
      ips: [{ address: '10.0.0.2/24', gateway: '', interface: null }],
      routes: null,
      dns: null,
    };
    assert.deepEqual(decodeResult(json, '1.0.0', 's'), {
      interfaces: [{ name: 'net1' }],
      ips: [{ address: '10.0.0.2/24' }],
      routes: [],
      dns: {},
    });
  });

  test('0.2.0 becomes lists', () => {
    const json: JsonObject = {
      ip4: { ip: '10.0.0.2/24', gateway: '10.0.0.1', routes: [{ dst: '0.0.0.0/0' }] },
      ip6: { ip: 'fd00::2/64', routes: [{ dst: '::/0', gw: 'fd00::1' }] },
      dns: { domain: 'x' },
    };
    assert.deepEqual(decodeResult(json, '0.2.0', 's'), {
      interfaces: [],
      ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }, { address: 'fd00::2/64' }],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fd00::1' }],
      dns: { domain: 'x' },
    });
  });

  test("a result that does not say its version has its configuration's", () => {
    const lists: JsonObject = { ips: [{ version: '4', address: '10.0.0.2/24' }] };
    assert.deepEqual(decodeResult(lists, '0.3.1', 's').ips, [{ address: '10.0.0.2/24' }]);
    assert.deepEqual(decodeResult(lists, '0.2.0', 's').ips, []);
  });

  const wrong: readonly [JsonObject | string | null, number, string][] = [
    [null, 6, 's: expected a JSON object, found null'],
    ['text', 6, 's: expected a JSON object, found "text"'],
    [
      { cniVersion: '7.0.0' },
      1,
      's: cniVersion: expected one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, found "7.0.0"',
    ],
    [{ ips: [{ address: 1 }] }, 6, 's: ips[0].address: expected a string, found 1'],
    [{ ips: [{}] }, 6, 's: ips[0].address: expected a string, found nothing'],
    [{ ips: {} }, 6, 's: ips: expected a list, found {}'],
    [{ interfaces: [{ name: 'a', mac: 254 }] }, 6, 's: interfaces[0].mac: expected a string, found 254'],
    [{ dns: [] }, 6, 's: dns: expected an object, found []'],
  ];
  for (const [json, code, message] of wrong) {
    test(message, () =>
      assert.deepEqual(
        thrownBy(() => decodeResult(json, '1.0.0', 's')),
        [code, message, ''],
      ),
    );
  }

  test('a prevResult is read in the version that it says', () => {
    const prevResult = { cniVersion: '0.2.0', ip4: { ip: '10.0.0.2/24' } };
    assert.deepEqual(readPrevResult(netConfig({ prevResult }))?.ips, [{ address: '10.0.0.2/24' }]);
    assert.equal(readPrevResult(netConfig()), undefined);
    assert.equal(readPrevResult(netConfig({ prevResult: null })), undefined);
    const thrown = thrownBy(() => readPrevResult(netConfig({ prevResult: { ips: 1 } })));
    assert.deepEqual(thrown, [7, 'network "n1": prevResult: ips: expected a list, found 1', '']);
  });
});

describe('any result', () => {
  const text = fc.string({ minLength: 1 });
  const address = fc.oneof(
    fc.ipV4().map((ip) => `${ip}/24`),
    fc.ipV6().map((ip) => `${ip}/64`),
  );
  const result: fc.Arbitrary<Result> = fc.record(
    {
      interfaces: fc.array(
        fc.record(
          { name: text, mac: text, sandbox: text, mtu: fc.nat(), pciID: text },
          { requiredKeys: ['name'], noNullPrototype: true },
        ),
      ),
      ips: fc.array(
        fc.record(
          { address, gateway: text, interface: fc.nat() },
          { requiredKeys: ['address'], noNullPrototype: true },
        ),
      ),
      routes: fc.array(
        fc.record({ dst: address, gw: text, priority: fc.nat() }, { requiredKeys: ['dst'], noNullPrototype: true }),
      ),
      dns: fc.record({ nameservers: fc.array(text), domain: text }, { requiredKeys: [], noNullPrototype: true }),
    },
    { noNullPrototype: true },
  );

  test('comes back from 1.x as it was', () => {
    fc.assert(
      fc.property(result, fc.constantFrom('1.0.0', '1.1.0'), (each, version) => {
        assert.deepEqual(decodeResult(JSON.parse(renderResult(each, version)), version, 's'), each);
      }),
    );
  });

  test('says the same after any way through the versions with lists', () => {
    const lists = cniVersions.filter((version) => version >= '0.3.0');
    fc.assert(
      fc.property(result, fc.array(fc.constantFrom(...lists), { minLength: 1 }), (each, way) => {
        const pass = (from: Result, version: string): Result => decodeResult(encodeResult(from, version), version, 's');
        const through = [...way, '0.4.0'].reduce(pass, each);
        assert.deepEqual(encodeResult(through, '0.4.0'), encodeResult(each, '0.4.0'));
      }),
    );
  });
});
