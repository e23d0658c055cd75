import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { reviewNetwork } from '../../src/webhook/networks.ts';
import { config, nodesKey, requestOf, resourceKey } from './reviews.ts';

const known = {
  builtin: new Set(builtinPlugins.map(({ type }) => type)),
  executed: new Set(['whereabouts']),
};

const network = (spec: string | undefined, annotations: JsonObject = {}, name = 'n') => ({
  apiVersion: 'k8s.cni.cncf.io/v1',
  kind: 'NetworkAttachmentDefinition',
  metadata: { name, namespace: 'default', annotations },
  ...(spec !== undefined && { spec: { config: spec } }),
});

const refusalOf = (object: JsonObject, more: Parameters<typeof requestOf>[2] = {}): string | undefined =>
  reviewNetwork(requestOf('network-attachment-definitions', object, more), known).refusal;

const macvlan = (ipam: JsonObject, more: JsonObject = {}): string =>
  config({ type: 'macvlan', master: 'ens6', ipam, ...more });
const hostLocal = (ipam: JsonObject): string => macvlan({ type: 'host-local', ...ipam });

const range = { subnet: '10.1.0.0/24', rangeStart: '10.1.0.10', rangeEnd: '10.1.0.20' };

const refused: readonly (readonly [name: string, spec: string, refusal: RegExp, annotations?: JsonObject])[] = [
  [
    'JSON that does not parse',
    '{"type":}',
    /^NetworkAttachmentDefinition default\/n, spec\.config: line 1, column 9: expected a value/,
  ],
  ['JSON that is no object', '[]', /spec\.config: expected a JSON object, found \[\]$/],
  ['neither type nor plugins', config({}), /expected plugins, a list of plugins, or type/],
  ['a list without a plugin', config({ plugins: [] }), /plugins: expected at least one plugin/],
  ['a version that nobody knows', JSON.stringify({ cniVersion: '9.9.9', type: 'macvlan' }), /9\.9\.9/],
  [
    'a version that a plugin does not have',
    JSON.stringify({
      cniVersion: '0.3.0',
      plugins: [{ type: 'dummy', ipam: { type: 'static' } }, { type: 'firewall' }],
    }),
    /^firewall: incompatible CNI versions/,
  ],
  [
    'a plugin that nobody has',
    config({ type: 'mcavlan' }),
    /^mcavlan is not built in, and is none of the plugins that nodes execute \(whereabouts\)$/,
  ],
  ['an IPAM plugin that nobody has', macvlan({ type: 'hostlocal' }), /^hostlocal is not built in/],
  [
    'the meta-plugin itself',
    config({ type: 'multus' }),
    /^network "n": type: expected a network plugin, found "multus"/,
  ],
  ['a range outside of its subnet', hostLocal({ ...range, rangeEnd: '10.2.0.20' }), /10\.2\.0\.20/],
  ['a range that ends before it begins', hostLocal({ ...range, rangeEnd: '10.1.0.5' }), /10\.1\.0/],
  [
    'ranges that overlap',
    hostLocal({ ranges: [[range], [{ ...range, rangeStart: '10.1.0.15', rangeEnd: '10.1.0.30' }]] }),
    /overlap/,
  ],
  ['no range at all', hostLocal({}), /no IP ranges specified/],
  ['a subnet that is none', hostLocal({ subnet: '10.1.0.0/33' }), /^network "n": ipam\.subnet: .*10\.1\.0\.0\/33/],
  [
    'an address that is none',
    macvlan({ type: 'static', addresses: [{ address: '10.1.0.300/24' }] }),
    /ipam\.addresses\[0\]\.address: .*10\.1\.0\.300/,
  ],
  [
    'a mode that is none',
    config({ type: 'macvlan', mode: 'brigde' }),
    /^network "n": mode: expected bridge, private, vepa or passthru, found "brigde"$/,
  ],
  [
    'a key of the wrong type',
    config({ type: 'bridge', mtu: 'big' }),
    /^network "n": mtu: expected a whole number, found "big"|^network "n": mtu: /,
  ],
  ['host-device without a device', config({ type: 'host-device' }), /^host-device: specify either "device"/],
  [
    'a sysctl outside of the network',
    config({
      plugins: [
        { type: 'dummy', ipam: { type: 'static' } },
        { type: 'tuning', sysctl: { 'kernel.panic': '1' } },
      ],
    }),
    /^tuning: .*kernel\.panic/,
  ],
  [
    'each of several problems',
    config({ plugins: [{ type: 'macvlan', mode: 'x' }, { type: 'nosuch' }] }),
    /^nosuch is not built in.*; network "n": mode: expected/,
  ],
  [
    'a resource that can be none',
    config({ type: 'macvlan' }),
    /annotation k8s\.v1\.cni\.cncf\.io\/resourceName: expected the name of a resource/,
    { [resourceKey]: 'a b' },
  ],
  [
    'labels of nodes that can be none',
    config({ type: 'macvlan' }),
    /annotation k8s\.v1\.cni\.cncf\.io\/nodeSelector: expected a label of nodes/,
    { [nodesKey]: 'a=b=c' },
  ],
];

const allowed: readonly (readonly [name: string, spec: string | undefined, annotations?: JsonObject])[] = [
  ['a network that works', hostLocal(range)],
  ['an empty configuration, which is a file of the nodes', ''],
  ['no specification, likewise', undefined],
  ['keys in the case that Go takes', JSON.stringify({ CNIVersion: '1.0.0', Type: 'macvlan', Mode: 'bridge' })],
  ['what is executed, whatever its keys', macvlan({ type: 'whereabouts', range: 5 })],
  ['host-device whose device is of a resource', config({ type: 'host-device' }), { [resourceKey]: 'intel.com/vf' }],
  ['host-device whose device pods name', config({ type: 'host-device', capabilities: { deviceID: true } })],
  [
    'host-local whose ranges the runtime gives',
    config({ type: 'macvlan', capabilities: { ipRanges: true }, ipam: { type: 'host-local' } }),
  ],
  [
    'static whose addresses pods name',
    config({ type: 'macvlan', capabilities: { ips: true }, ipam: { type: 'static' } }),
  ],
  [
    'a chain',
    config({
      plugins: [
        { type: 'bridge', ipam: { type: 'host-local', subnet: '10.1.0.0/24' } },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    }),
  ],
  ['labels of nodes', config({ type: 'macvlan' }), { [nodesKey]: 'rack=7' }],
];

describe('networks', () => {
  for (const [name, spec, refusal, annotations] of refused) {
    test(`refused: ${name}`, () => assert.match(refusalOf(network(spec, annotations)) ?? 'allowed', refusal));
  }
  for (const [name, spec, annotations] of allowed) {
    test(`allowed: ${name}`, () => assert.equal(refusalOf(network(spec, annotations)), undefined));
  }

  test('any plugin may be executed where it is not known which are', () => {
    const request = requestOf('network-attachment-definitions', network(config({ type: 'nosuch' })));
    assert.equal(reviewNetwork(request, { ...known, executed: undefined }).refusal, undefined);
  });

  test('a built-in plugin that nodes do not have is judged by nothing but its type', () => {
    const request = requestOf('network-attachment-definitions', network(config({ type: 'macvlan', mode: 'x' })));
    const executed = { builtin: new Set<string>(), executed: new Set(['macvlan']) };
    assert.equal(reviewNetwork(request, executed).refusal, undefined);
  });

  test('a change is looked at, one that leaves the network as it was is let be', () => {
    const broken = network('{"type":}');
    const update = (oldObject: JsonObject, object: JsonObject = broken) =>
      refusalOf(object, { operation: 'UPDATE', oldObject: { ...oldObject } });
    assert.match(update(network(hostLocal(range))) ?? '', /expected a value/);
    assert.equal(update(network('{"type":}', { note: 'x' })), undefined);
    assert.match(update(broken, network('{"type":}', { [resourceKey]: 'a b' })) ?? '', /expected/);
    const deleted = { ...broken, metadata: { ...broken.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
    assert.equal(update(network(hostLocal(range)), deleted), undefined);
    assert.equal(refusalOf(broken, { operation: 'DELETE', object: null, oldObject: { ...broken } }), undefined);
  });

  test('a name that the server is to make keeps nothing from being looked at', () => {
    const object = { ...network('{"type":}'), metadata: { generateName: 'n-' } };
    assert.match(refusalOf(object) ?? '', /^NetworkAttachmentDefinition default\/n-x, spec\.config: /);
  });

  test('what is no definition is no question', () => {
    assert.throws(
      () => refusalOf({ metadata: { name: 'n' }, spec: { config: 5 } }),
      /expected a NetworkAttachmentDefinition: spec\.config: /,
    );
  });

  test('every built-in plugin but those that take everything says what is wrong with a configuration', () => {
    const silent = builtinPlugins.filter(({ validate }) => validate === undefined).map(({ type }) => type);
    assert.deepEqual(silent, ['loopback', 'passthru']);
  });
});
