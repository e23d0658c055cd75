import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseDefaultNetwork, parseNetworks, SelectionError } from '../../../src/attach/selection.ts';

/* The networks annotation: specification v1.3 of the Network Plumbing Working Group, section 4.1. */

type Accepted = readonly [section: string, what: string, annotation: string, expected: readonly object[]];

/** The JSON form with one element. */
const one = (keys: object | string): string =>
  `[${typeof keys === 'string' ? keys : JSON.stringify({ name: 'a', ...keys })}]`;

const accepted: readonly Accepted[] = [
  ['4.1', 'an empty annotation asks for nothing', '', []],
  ['4.1', 'neither does one of blanks', ' \n\t ', []],
  ['4.1.1', 'one name', 'macvlan', [{ namespace: 'app', name: 'macvlan' }]],
  ['4.1.1', 'blanks and line ends around names', ' a ,\n b ', [{ name: 'a' }, { name: 'b' }]],
  ['4.1.1', 'a namespace', 'infra/storage', [{ namespace: 'infra', name: 'storage' }]],
  ['4.1.1', 'an interface', 'infra/storage@data0', [{ namespace: 'infra', name: 'storage', interface: 'data0' }]],
  ['4.1.1', 'an interface without a namespace', 'a@net7', [{ namespace: 'app', name: 'a', interface: 'net7' }]],
  ['4.1.1', 'blanks within an item', 'infra / a @ net7', [{ namespace: 'infra', name: 'a', interface: 'net7' }]],
  ['4.1.1', 'an empty namespace, which counts as none', '/a', [{ namespace: 'app', name: 'a' }]],
  ['4.1.1', 'an empty interface, which counts as none', 'a@', [{ name: 'a', interface: undefined }]],
  ['4.1.1', '64 networks', Array(64).fill('a').join(','), Array(64).fill({ name: 'a' })],
  ['4.1.2', 'an empty list', '[]', []],
  ['4.1.2', 'two elements', '[{"name":"a"},{"name":"b","namespace":"infra"}]', [{ name: 'a' }, { namespace: 'infra' }]],
  ['4.1.2', 'keys in any case, as Go reads them', '[{"Name":"a","MAC":"02:00:00:00:00:01"}]', [{ name: 'a' }]],
  [
    '4.1.2.1',
    'null counts as absent, as in Go',
    one({ namespace: null, ips: null, mac: null, bandwidth: null, 'cni-args': null, 'default-route': null }),
    [{ namespace: 'app', ips: undefined, mac: undefined, cniArgs: undefined, defaultRoute: undefined }],
  ],
  ['4.1.2.1', 'keys of others, by reverse domain names', one({ 'org.example.rack': { a: 1 } }), [{ name: 'a' }]],
  ['3.3', 'a dotted name', 'rack.a', [{ name: 'rack.a' }]],
  ['3.3', 'the longest name', 'a'.repeat(253), [{ name: 'a'.repeat(253) }]],
  ['4.1.2.1.2 "namespace"', 'empty: the namespace of the pod', one({ namespace: '' }), [{ namespace: 'app' }]],
  ['4.1.2.1.3 "ips"', 'both families', one({ ips: ['10.0.0.9', 'fd00::9'] }), [{ ips: ['10.0.0.9', 'fd00::9'] }]],
  ['4.1.2.1.3 "ips"', 'with prefix lengths', one({ ips: ['10.0.0.9/24'] }), [{ ips: ['10.0.0.9/24'] }]],
  ['4.1.2.1.4 "mac"', 'with dashes', one({ mac: '02-00-5E-10-00-01' }), [{ mac: '02:00:5e:10:00:01' }]],
  ['4.1.2.1.4 "mac"', 'with dots', one({ mac: '0200.5E10.0001' }), [{ mac: '02:00:5e:10:00:01' }]],
  [
    '4.1.2.1.4 "mac"',
    'IP over InfiniBand',
    one({ mac: '80:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22' }),
    [{ mac: '80:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22' }],
  ],
  ['4.1.2.1.4 "mac"', 'empty counts as absent', one({ mac: '' }), [{ mac: undefined }]],
  ['4.1.2.1.5 "interface"', 'a name', one({ interface: 'data0' }), [{ interface: 'data0' }]],
  ['4.1.2.1.5 "interface"', 'of 15 bytes', one({ interface: 'x'.repeat(15) }), [{ interface: 'x'.repeat(15) }]],
  ['4.1.2.1.5 "interface"', 'of letters beyond ASCII', one({ interface: 'größe0' }), [{ interface: 'größe0' }]],
  ['4.1.2.1.5 "interface"', 'by its older name', one({ interfaceRequest: 'data0' }), [{ interface: 'data0' }]],
  ['4.1.2.1.5 "interface"', 'both', one({ interface: 'x0', interfaceRequest: 'y0' }), [{ interface: 'x0' }]],
  [
    '4.1.2.1 "infiniband-guid"',
    'in any notation',
    one({ 'infiniband-guid': '248A-0703-008D-AE2E'.replaceAll('-', '.') }),
    [{ infinibandGuid: '24:8a:07:03:00:8d:ae:2e' }],
  ],
  [
    '4.1.2.1 "portMappings"',
    'protocols in any case, TCP where none is named, the first and the last port',
    one({
      portMappings: [
        { hostPort: 1, containerPort: 65535, protocol: 'UDP', hostIP: '' },
        { hostPort: 65535, containerPort: 1, hostIP: '10.0.0.1' },
        { hostPort: 80, containerPort: 80, protocol: '' },
      ],
    }),
    [
      {
        portMappings: [
          { hostPort: 1, containerPort: 65535, protocol: 'UDP', hostIP: '' },
          { hostPort: 65535, containerPort: 1, protocol: 'tcp', hostIP: '10.0.0.1' },
          { hostPort: 80, containerPort: 80, protocol: 'tcp' },
        ],
      },
    ],
  ],
  [
    '4.1.2.1 "bandwidth"',
    'rates with bursts, and one without',
    one({ bandwidth: { ingressRate: 1, ingressBurst: 2, egressRate: 2 ** 50 } }),
    [{ bandwidth: { ingressRate: 1, ingressBurst: 2, egressRate: 2 ** 50 } }],
  ],
  ['4.1.2.1 "cni-args"', 'of any shape', one({ 'cni-args': { k: [1, { x: null }] } }), [{ cniArgs: { k: [1, {}] } }]],
  [
    '4.1.2.1.9 "default-route"',
    'one gateway',
    one({ 'default-route': ['10.0.0.1'] }),
    [{ defaultRoute: ['10.0.0.1'] }],
  ],
  [
    '4.1.2.1.9 "default-route"',
    'one gateway for each family',
    one({ 'default-route': ['fd00::1', '10.0.0.1'] }),
    [{ defaultRoute: ['fd00::1', '10.0.0.1'] }],
  ],
  ['4.1.2.1.9 "default-route"', 'an empty list', one({ 'default-route': [] }), [{ defaultRoute: [] }]],
  ['4.1.2.1 "device-id"', 'a PCI address', one({ 'device-id': '0000:00:06.0' }), [{ deviceId: '0000:00:06.0' }]],
  ['4.1.2.1 "device-id"', "in Multus' spelling", one({ deviceID: '0000:00:06.0' }), [{ deviceId: '0000:00:06.0' }]],
  ['4.1.2.1 "device-id"', 'in both', one({ deviceID: 'a', 'device-id': 'a' }), [{ deviceId: 'a' }]],
  ['4.1.2.1 "ipam-claim-reference"', 'a name', one({ 'ipam-claim-reference': 'vm.a' }), [{ ipamClaim: 'vm.a' }]],
];

for (const [section, what, annotation, expected] of accepted) {
  test(`NPWG v1.3 §${section}: ${what}`, () => {
    const parsed = parseNetworks(annotation, 'app');
    assert.equal(parsed.length, expected.length);
    for (const [place, wanted] of expected.entries()) assert.partialDeepStrictEqual(parsed[place], wanted);
  });
}

type Refused = readonly [section: string, what: string, annotation: string, problem: string];

const nameForm = 'expected the name of a NetworkAttachmentDefinition: lower-case letters, digits, "-" and "."';
const namespaceForm = 'expected the name of a namespace: lower-case letters, digits and "-"';
const interfaceForm = 'expected an interface name: 1 to 15 bytes without space, "/", ":" or "%"';
const addressForm = 'expected an IP address such as 10.0.0.2, fd00::2 or 10.0.0.2/24';
const gatewayForm = 'expected an IP address such as 10.0.0.2 or fd00::2';
const macForm = 'expected the MAC address of one interface, such as 02:00:5e:10:00:01';
const guidForm = 'expected an InfiniBand GUID of eight bytes such as 24:8a:07:03:00:8d:ae:2e';
const portForm = 'expected a port from 1 to 65535';
const rateForm = 'expected a whole number of bits, and of bits per second for a rate';
const deviceForm = 'expected the id of a device: 1 to 128 letters, digits and ". : @ + = / _ -", without ".."';
const listForm = 'expected a list of network selection elements, [{"name": ...}]';

const mapping = (keys: object): string => one({ portMappings: [{ hostPort: 80, containerPort: 80, ...keys }] });

const refused: readonly Refused[] = [
  ['4.1.1', 'two slashes', 'a/b/c', 'item 1, "a/b/c": expected [namespace/]name[@interface]'],
  ['4.1.1', 'two interfaces', 'a@b@c', 'item 1, "a@b@c": expected [namespace/]name[@interface]'],
  ['4.1.1', 'a slash behind the interface', 'a@b/c', 'item 1, "a@b/c": expected [namespace/]name[@interface]'],
  ['4.1.1', 'nothing between commas', 'a,,b', `item 2, "": name: ${nameForm}`],
  ['4.1.1', 'a comma at the end', 'a,', `item 2, "": name: ${nameForm}`],
  ['4.1.1', 'an interface without a network', '@net1', `item 1, "@net1": name: ${nameForm}`],
  ['3.3', 'a name in capitals', 'Macvlan', `item 1, "Macvlan": name: ${nameForm}`],
  ['3.3', 'a name that ends with a dash', 'a-', `item 1, "a-": name: ${nameForm}`],
  ['3.3', 'a name beyond ASCII', 'größe', `item 1, "größe": name: ${nameForm}`],
  [
    '3.3',
    'a name that is too long',
    one({ name: 'a'.repeat(254) }),
    `[0].name: ${nameForm}, found "${'a'.repeat(59)}...`,
  ],
  ['3.3', 'a path for a name', '../etc', `item 1, "../etc": namespace: ${namespaceForm}`],
  ['3.3', 'a path in the JSON form', one({ name: '../etc' }), `[0].name: ${nameForm}, found "../etc"`],
  ['3.3', 'a namespace with a dot', 'a.b/c', `item 1, "a.b/c": namespace: ${namespaceForm}`],
  [
    '4.1.1',
    'everything wrong: the first five are told',
    'A,B,C,D,E,F,G',
    `${['A', 'B', 'C', 'D', 'E'].map((each, i) => `item ${i + 1}, "${each}": name: ${nameForm}`).join('; ')}; and 2 more`,
  ],
  ['4.1.1', 'more networks than any pod needs', Array(65).fill('a').join(','), '65 networks, at most 64 are allowed'],
  ['4.1.2', 'and in the JSON form', `[${Array(65).fill('{"name":"a"}')}]`, '65 networks, at most 64 are allowed'],
  ['4.1', 'an annotation of 1 MiB', 'a'.repeat(1 << 20), 'longer than 65536 characters, it has 1048576'],
  [
    '4.1.2',
    'JSON that ends too early',
    '[{"name":"a"',
    'not valid JSON: line 1, column 13: expected "," or "}", found the end of the text, near: [{"name":"a"',
  ],
  [
    '4.1.2',
    'JSON with a comma too many',
    '[{"name":"a"},]',
    'not valid JSON: line 1, column 15: expected a value, found ], near: [{"name":"a"},]',
  ],
  [
    '4.1.2',
    'a comma form in quotes',
    '"a","b"',
    'not valid JSON: line 1, column 4: expected nothing after the value, found ,, near: "a","b"',
  ],
  ['4.1.2', 'JSON nested without end', '['.repeat(60_000), 'not valid JSON: expected JSON nested at most 64 deep'],
  ['4.1.2', 'one element without a list', '{"name":"a"}', `${listForm}, found {"name":"a"}`],
  ['4.1.2', 'null for an element', '[null]', '[0]: expected an object, found null'],
  ['4.1.2', 'a list for an element', '[["a"]]', '[0]: expected an object, found ["a"]'],
  ['4.1.2', 'a name for an element', '["a"]', '[0]: expected an object, found "a"'],
  ['4.1.2.1.1 "name"', 'missing', one('{"namespace":"b"}'), `[0].name: ${nameForm}, found nothing`],
  ['4.1.2.1.1 "name"', 'null', one({ name: null }), `[0].name: ${nameForm}, found nothing`],
  ['4.1.2.1.1 "name"', 'empty', one({ name: '' }), `[0].name: ${nameForm}, found ""`],
  ['4.1.2.1.1 "name"', 'a number', one({ name: 7 }), `[0].name: ${nameForm}, found 7`],
  [
    '4.1.2.1.1 "name"',
    'hidden in __proto__',
    one('{"__proto__":{"name":"a"}}'),
    `[0].name: ${nameForm}, found nothing`,
  ],
  ['4.1.2.1.2 "namespace"', 'a list', one({ namespace: ['b'] }), `[0].namespace: ${namespaceForm}, found ["b"]`],
  [
    '4.1.2.1.2 "namespace"',
    'of 64 letters',
    one({ namespace: 'a'.repeat(64) }),
    `[0].namespace: ${namespaceForm}, found "${'a'.repeat(59)}...`,
  ],
  [
    '4.1.2.1.3 "ips"',
    'no list',
    one({ ips: '10.0.0.9' }),
    '[0].ips: expected a list of IP addresses, found "10.0.0.9"',
  ],
  ['4.1.2.1.3 "ips"', 'no address', one({ ips: ['10.0.0.300'] }), `[0].ips[0]: ${addressForm}, found "10.0.0.300"`],
  ['4.1.2.1.3 "ips"', 'octal', one({ ips: ['010.0.0.1'] }), `[0].ips[0]: ${addressForm}, found "010.0.0.1"`],
  [
    '4.1.2.1.3 "ips"',
    'IPv4 in IPv6',
    one({ ips: ['::ffff:10.0.0.1'] }),
    `[0].ips[0]: ${addressForm}, found "::ffff:10.0.0.1"`,
  ],
  ['4.1.2.1.3 "ips"', 'a zone', one({ ips: ['fe80::1%eth0'] }), `[0].ips[0]: ${addressForm}, found "fe80::1%eth0"`],
  [
    '4.1.2.1.3 "ips"',
    'too long a prefix',
    one({ ips: ['10.0.0.1/33'] }),
    `[0].ips[0]: ${addressForm}, found "10.0.0.1/33"`,
  ],
  ['4.1.2.1.3 "ips"', 'null within', one({ ips: [null] }), `[0].ips[0]: ${addressForm}, found null`],
  [
    '4.1.2.1.3 "ips"',
    'more than any interface has',
    one({ ips: Array(33).fill('10.0.0.1') }),
    `[0].ips: expected at most 32 IP addresses, found ["10.0.0.1","10.0.0.1","10.0.0.1","10.0.0.1","10.0.0.1","10....`,
  ],
  ['4.1.2.1.4 "mac"', 'no address', one({ mac: 'zz' }), `[0].mac: ${macForm}, found "zz"`],
  ['4.1.2.1.4 "mac"', 'of five bytes', one({ mac: '02:00:00:00:01' }), `[0].mac: ${macForm}, found "02:00:00:00:01"`],
  [
    '4.1.2.1.4 "mac"',
    'in two notations',
    one({ mac: '02:00-00:00:00:01' }),
    `[0].mac: ${macForm}, found "02:00-00:00:00:01"`,
  ],
  ['4.1.2.1.4 "mac"', "a group's", one({ mac: '01:00:5e:00:00:01' }), `[0].mac: ${macForm}, found "01:00:5e:00:00:01"`],
  ['4.1.2.1.4 "mac"', 'of zeros', one({ mac: '00:00:00:00:00:00' }), `[0].mac: ${macForm}, found "00:00:00:00:00:00"`],
  ['4.1.2.1.4 "mac"', 'a number', one({ mac: 2 }), `[0].mac: ${macForm}, found 2`],
  [
    '4.1.2.1.5 "interface"',
    'of 16 bytes',
    'a@averylongname0123',
    `item 1, "a@averylongname0123": interface: ${interfaceForm}`,
  ],
  [
    '4.1.2.1.5 "interface"',
    'of 9 letters and 17 bytes',
    one({ interface: 'öööööööö0' }),
    `[0].interface: ${interfaceForm}, found "öööööööö0"`,
  ],
  ['4.1.2.1.5 "interface"', '..', 'a@..', `item 1, "a@..": interface: ${interfaceForm}`],
  [
    '4.1.2.1.5 "interface"',
    'that the kernel would number',
    'a@net%d',
    `item 1, "a@net%d": interface: ${interfaceForm}`,
  ],
  [
    '4.1.2.1.5 "interface"',
    'with a zero',
    one({ interface: 'a\0b' }),
    `[0].interface: ${interfaceForm}, found "a\\u0000b"`,
  ],
  [
    '4.1.2.1.5 "interface"',
    'that cannot be seen',
    one({ interface: 'net1\u200b' }),
    `[0].interface: ${interfaceForm}, found "net1\u200b"`,
  ],
  ['4.1.2.1.5 "interface"', 'an object', one({ interface: {} }), `[0].interface: ${interfaceForm}, found {}`],
  [
    '4.1.2.1.5 "interface"',
    'by its older name',
    one({ interfaceRequest: 'a b' }),
    `[0].interfaceRequest: ${interfaceForm}, found "a b"`,
  ],
  [
    '4.1.2.1 "infiniband-guid"',
    'a MAC',
    one({ 'infiniband-guid': '02:00:00:00:00:01' }),
    `[0].infiniband-guid: ${guidForm}, found "02:00:00:00:00:01"`,
  ],
  [
    '4.1.2.1 "portMappings"',
    'one without a list',
    one({ portMappings: {} }),
    '[0].portMappings: expected a list of port mappings, found {}',
  ],
  [
    '4.1.2.1 "portMappings"',
    'null within',
    one({ portMappings: [null] }),
    '[0].portMappings[0]: expected an object, found null',
  ],
  ['4.1.2.1 "portMappings"', 'port 0', mapping({ hostPort: 0 }), `[0].portMappings[0].hostPort: ${portForm}, found 0`],
  [
    '4.1.2.1 "portMappings"',
    'port 65536',
    mapping({ containerPort: 65536 }),
    `[0].portMappings[0].containerPort: ${portForm}, found 65536`,
  ],
  [
    '4.1.2.1 "portMappings"',
    'half a port',
    mapping({ hostPort: 80.5 }),
    `[0].portMappings[0].hostPort: ${portForm}, found 80.5`,
  ],
  [
    '4.1.2.1 "portMappings"',
    'a port in quotes',
    mapping({ hostPort: '80' }),
    `[0].portMappings[0].hostPort: ${portForm}, found "80"`,
  ],
  [
    '4.1.2.1 "portMappings"',
    'no host port',
    one({ portMappings: [{ containerPort: 1 }] }),
    `[0].portMappings[0].hostPort: ${portForm}, found nothing`,
  ],
  [
    '4.1.2.1 "portMappings"',
    'an unknown protocol',
    mapping({ protocol: 'icmp' }),
    '[0].portMappings[0].protocol: expected tcp, udp or sctp, found "icmp"',
  ],
  [
    '4.1.2.1 "portMappings"',
    'a host name',
    mapping({ hostIP: 'node-1' }),
    '[0].portMappings[0].hostIP: expected an IP address of the node, found "node-1"',
  ],
  [
    '4.1.2.1 "bandwidth"',
    'a burst without a rate',
    one({ bandwidth: { ingressBurst: 1 } }),
    '[0].bandwidth.ingressRate: a burst needs a rate: add it, in bits per second, or remove the burst',
  ],
  [
    '4.1.2.1 "bandwidth"',
    'the same for egress',
    one({ bandwidth: { egressBurst: 1, egressRate: 0 } }),
    '[0].bandwidth.egressRate: a burst needs a rate: add it, in bits per second, or remove the burst',
  ],
  [
    '4.1.2.1 "bandwidth"',
    'a negative rate',
    one({ bandwidth: { ingressRate: -1 } }),
    `[0].bandwidth.ingressRate: ${rateForm}, found -1`,
  ],
  [
    '4.1.2.1 "bandwidth"',
    'a rate with a unit',
    one({ bandwidth: { egressRate: '1M' } }),
    `[0].bandwidth.egressRate: ${rateForm}, found "1M"`,
  ],
  [
    '4.1.2.1 "bandwidth"',
    'a rate without end',
    one('{"name":"a","bandwidth":{"egressRate":1e400}}'),
    `[0].bandwidth.egressRate: ${rateForm}, found null`,
  ],
  ['4.1.2.1 "cni-args"', 'a list', one({ 'cni-args': ['a'] }), '[0].cni-args: expected an object, found ["a"]'],
  ['4.1.2.1 "cni-args"', 'a text', one({ 'cni-args': 'a=b' }), '[0].cni-args: expected an object, found "a=b"'],
  [
    '4.1.2.1.9 "default-route"',
    'no list',
    one({ 'default-route': '10.0.0.1' }),
    '[0].default-route: expected a list of gateways, found "10.0.0.1"',
  ],
  [
    '4.1.2.1.9 "default-route"',
    'a prefix',
    one({ 'default-route': ['10.0.0.1/24'] }),
    `[0].default-route[0]: ${gatewayForm}, found "10.0.0.1/24"`,
  ],
  [
    '4.1.2.1.9 "default-route"',
    'two gateways of one family',
    one({ 'default-route': ['10.0.0.1', '10.0.0.2'] }),
    '[0].default-route: expected at most one gateway for IPv4 and one for IPv6, found ["10.0.0.1","10.0.0.2"]',
  ],
  ['4.1.2.1 "device-id"', 'a path', one({ 'device-id': '../../x' }), `[0].device-id: ${deviceForm}, found "../../x"`],
  [
    '4.1.2.1 "device-id"',
    'two of them',
    one({ deviceID: 'a', 'device-id': 'b' }),
    '[0].device-id: expected what "deviceID" says, which means the same, found "b"',
  ],
  [
    '4.1.2.1 "ipam-claim-reference"',
    'a path',
    one({ 'ipam-claim-reference': '../x' }),
    '[0].ipam-claim-reference: expected the name of an IPAMClaim: lower-case letters, digits, "-" and ".", found "../x"',
  ],
  [
    '4.1.2.1 "ipam-claim-reference"',
    'with ips',
    one({ ips: ['10.0.0.1'], 'ipam-claim-reference': 'c' }),
    '[0]: "ips" and "ipam-claim-reference" exclude each other: the claim keeps the addresses; remove one of the two',
  ],
];

for (const [section, what, annotation, problem] of refused) {
  test(`NPWG v1.3 §${section}: refused: ${what}`, () => {
    assert.throws(
      () => parseNetworks(annotation, 'app'),
      (error) => {
        assert.ok(error instanceof SelectionError);
        assert.equal(error.message, `annotation k8s.v1.cni.cncf.io/networks: ${problem}`);
        assert.match(error.details, /^correct the annotation k8s\.v1\.cni\.cncf\.io\/networks of the pod/);
        assert.equal(error.code, 7);
        return true;
      },
    );
  });
}

describe('what is hostile stays where it is', () => {
  test("NPWG v1.3 §4.1.2.1: a key __proto__ becomes nobody's prototype", () => {
    const [selection] = parseNetworks(
      one('{"name":"a","__proto__":{"mac":"02:00:00:00:00:01"},"cni-args":{"__proto__":{"x":1},"constructor":{}}}'),
      'app',
    );
    assert.equal(selection?.mac, undefined);
    assert.equal(selection?.cniArgs?.['x'], undefined);
    assert.equal(Reflect.get({}, 'x'), undefined);
  });

  test('NPWG v1.3 §4.1.2: thousands of mistakes make one short message', () => {
    assert.throws(
      () => parseNetworks(`[${Array(20_000).fill('{}')}]`, 'app'),
      (error) =>
        error instanceof SelectionError && error.message.length < 1_000 && /and 19995 more$/.test(error.message),
    );
  });

  const keys = [
    'name',
    'ips',
    'mac',
    'interface',
    'portMappings',
    'bandwidth',
    'cni-args',
    'default-route',
    '__proto__',
  ];
  const element = fc.dictionary(fc.constantFrom(...keys), fc.jsonValue({ maxDepth: 3 }));
  const hostile = fc.oneof(
    fc.string(),
    fc.json(),
    fc.array(element).map((each) => JSON.stringify(each)),
  );
  test('NPWG v1.3 §4.1: whatever an annotation says, it is followed or refused in some short words', () => {
    fc.assert(
      fc.property(hostile, (annotation) => {
        try {
          for (const { name, interface: ifName = 'net1' } of parseNetworks(annotation, 'app')) {
            assert.match(name, /^[a-z0-9.-]{1,253}$/);
            assert.match(ifName, /^[^\s/:%\p{C}]{1,15}$/u);
          }
        } catch (error) {
          assert.ok(error instanceof SelectionError, String(error));
          assert.ok(error.message.length < 4_000, error.message);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('the default-network annotation', () => {
  test('may have both ips and ipam-claim-reference, as OVN-Kubernetes writes it', () => {
    const annotation = '[{"name":"default","namespace":"ovn","ips":["10.0.0.5/24"],"ipam-claim-reference":"vm.net"}]';
    assert.partialDeepStrictEqual(parseDefaultNetwork(annotation, 'kube-system'), {
      namespace: 'ovn',
      name: 'default',
      ips: ['10.0.0.5/24'],
      ipamClaim: 'vm.net',
    });
  });

  test('looks in the namespace given where it names none', () => {
    assert.partialDeepStrictEqual(parseDefaultNetwork('net-a', 'kube-system'), {
      namespace: 'kube-system',
      name: 'net-a',
    });
  });
});
