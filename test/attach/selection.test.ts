import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDefaultNetwork, parseNetworks, SelectionError } from '../../src/attach/selection.ts';

const accepted: readonly (readonly [title: string, annotation: string, expected: readonly object[]])[] = [
  ['4.1.1: one name', 'macvlan', [{ namespace: 'app', name: 'macvlan' }]],
  ['4.1.1: blanks around names', ' a , b ', [{ name: 'a' }, { name: 'b' }]],
  ['4.1.1: a namespace', 'infra/storage', [{ namespace: 'infra', name: 'storage' }]],
  ['4.1.1: an interface', 'infra/storage@data0', [{ namespace: 'infra', name: 'storage', interface: 'data0' }]],
  ['4.1.1: an interface without a namespace', 'a@net7', [{ namespace: 'app', name: 'a', interface: 'net7' }]],
  ['4.1.1: a dotted name', 'rack.a', [{ name: 'rack.a' }]],
  ['an empty annotation asks for nothing', '  ', []],
  ['4.1.2: the JSON form', '[{"name":"a"},{"name":"b","namespace":"infra"}]', [{ name: 'a' }, { namespace: 'infra' }]],
  ['4.1.2.3: interface', '[{"name":"a","interface":"data0"}]', [{ interface: 'data0' }]],
  ['the older name of interface', '[{"name":"a","interfaceRequest":"data0"}]', [{ interface: 'data0' }]],
  ['4.1.2.4: ips', '[{"name":"a","ips":["10.0.0.9","2001:db8::9/64"]}]', [{ ips: ['10.0.0.9', '2001:db8::9/64'] }]],
  ['4.1.2.5: mac, in any notation', '[{"name":"a","mac":"02-00-5E-10-00-01"}]', [{ mac: '02:00:5e:10:00:01' }]],
  ['4.1.2.9: default-route', '[{"name":"a","default-route":["10.0.0.1"]}]', [{ defaultRoute: ['10.0.0.1'] }]],
  ['4.1.2.9: an empty default-route', '[{"name":"a","default-route":[]}]', [{ defaultRoute: [] }]],
  ['4.1.2.8: cni-args', '[{"name":"a","cni-args":{"k":[1]}}]', [{ cniArgs: { k: [1] } }]],
  [
    '4.1.2.6: portMappings',
    '[{"name":"a","portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"UDP"}]}]',
    [{ portMappings: [{ hostPort: 80, containerPort: 8080, protocol: 'UDP' }] }],
  ],
  ['ipam-claim-reference', '[{"name":"a","ipam-claim-reference":"vm.a"}]', [{ ipamClaim: 'vm.a' }]],
  ['the older deviceID', '[{"name":"a","deviceID":"0000:00:06.0"}]', [{ deviceId: '0000:00:06.0' }]],
  ['device-id', '[{"name":"a","device-id":"0000:00:06.0"}]', [{ deviceId: '0000:00:06.0' }]],
];

for (const [title, annotation, expected] of accepted) {
  test(`networks annotation, ${title}`, () => {
    const parsed = parseNetworks(annotation, 'app');
    assert.equal(parsed.length, expected.length);
    for (const [i, wanted] of expected.entries()) assert.partialDeepStrictEqual(parsed[i], wanted);
  });
}

const refused: readonly (readonly [title: string, annotation: string, message: RegExp])[] = [
  ['two slashes', 'a/b/c', /networks: item 1, "a\/b\/c": expected \[namespace\/\]name\[@interface\]/],
  ['nothing between commas', 'a,,b', /item 2, "": name: expected the name of a NetworkAttachmentDefinition/],
  ['a name in capitals', 'Macvlan', /item 1, "Macvlan": name: expected the name/],
  ['a path for a name', '../../etc/passwd', /item 1/],
  ['an interface that is too long', 'a@averylongname0123', /interface: expected an interface name: 1 to 15 characters/],
  ['an interface named ..', 'a@..', /interface: expected an interface name/],
  ['an interface that the kernel would number', 'a@net%d', /interface: expected an interface name/],
  ['JSON that does not parse', '[{"name":"a"', /not valid JSON: /],
  ['one element without a list', '{"name":"a"}', /expected a list of network selection elements/],
  ['null for an element', '[null]', /\[0\]: /],
  ['an element without a name', '[{"namespace":"a"}]', /\[0\]\.name: /],
  ['an address that is none', '[{"name":"a","ips":["10.0.0.300"]}]', /\[0\]\.ips\[0\]: expected an IP address/],
  ['a MAC that is none', '[{"name":"a","mac":"zz"}]', /\[0\]\.mac: expected a MAC address/],
  [
    'a port out of range',
    '[{"name":"a","portMappings":[{"hostPort":0,"containerPort":1}]}]',
    /portMappings\[0\]\.hostPort/,
  ],
  ['a burst without a rate', '[{"name":"a","bandwidth":{"ingressBurst":1}}]', /ingressRate: a burst needs a rate/],
  ['ips with a claim', '[{"name":"a","ips":["10.0.0.1"],"ipam-claim-reference":"c"}]', /\[0\]: "ips" and "ipam-claim/],
  ['three gateways', '[{"name":"a","default-route":["10.0.0.1","10.0.0.2","10.0.0.3"]}]', /default-route/],
  ['more networks than any pod needs', Array(65).fill('a').join(','), /65 networks, at most 64/],
  ['an endless annotation', 'a'.repeat(70_000), /longer than 65536 characters/],
];

for (const [title, annotation, message] of refused) {
  test(`networks annotation refuses ${title}`, () => {
    assert.throws(() => parseNetworks(annotation, 'app'), { name: SelectionError.name, message });
  });
}

test('the default-network annotation may have both ips and ipam-claim-reference, as OVN-Kubernetes writes it', () => {
  const annotation = '[{"name":"default","namespace":"ovn","ips":["10.0.0.5/24"],"ipam-claim-reference":"vm.net"}]';
  assert.partialDeepStrictEqual(parseDefaultNetwork(annotation, 'kube-system'), {
    namespace: 'ovn',
    name: 'default',
    ips: ['10.0.0.5/24'],
    ipamClaim: 'vm.net',
  });
});

test('the default-network annotation looks in the namespace given where it names none', () => {
  assert.partialDeepStrictEqual(parseDefaultNetwork('net-a', 'kube-system'), {
    namespace: 'kube-system',
    name: 'net-a',
  });
});
