import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseResourceConfig } from '../../src/devices/config.ts';
import { walkThrough } from './sysfs.ts';

const parse = (json: unknown) => parseResourceConfig(JSON.stringify(json), 'config.json');

test("the walk-through's configuration is a resource of intel.com, of network devices, with one selector", () => {
  const { resources, problems, unknown } = parse(walkThrough);
  assert.deepEqual([problems, unknown], [[], []]);
  const [resource, ...others] = resources;
  assert.deepEqual(others, []);
  assert.equal(resource?.fullName, 'intel.com/aws_ena_vf');
  assert.equal(resource.deviceType, 'netDevice');
  assert.equal(resource.excludeTopology, false);
  const [selector] = resource.selectors;
  assert.deepEqual([selector?.vendors, selector?.devices, selector?.drivers], [['1d0f'], ['ec20'], ['ena']]);
});

test('every key of an entry is read, in any case of letters', () => {
  const { resources, problems, unknown } = parseResourceConfig(
    JSON.stringify({
      ResourceList: [
        {
          ResourceName: 'x_1',
          resourceprefix: 'my-corp.example.org',
          DEVICETYPE: 'accelerator',
          excludeTopology: true,
          additionalInfo: { '*': { a: '1' } },
          selectors: [{ vendors: ['8086'] }, { Drivers: null }],
        },
        { resourceName: 'x_1' },
      ],
    }),
    'config.json',
    'example.com',
  );
  assert.deepEqual([problems, unknown], [[], []]);
  assert.deepEqual(
    resources.map(({ fullName, deviceType, excludeTopology, additionalInfo, selectors }) => [
      fullName,
      deviceType,
      excludeTopology,
      additionalInfo,
      selectors.length,
    ]),
    [
      ['my-corp.example.org/x_1', 'accelerator', true, { '*': { a: '1' } }, 2],
      ['example.com/x_1', 'netDevice', false, {}, 1],
    ],
  );
});

test('keys that nobody knows, or that are of another type of device, are named with their path', () => {
  const { resources, unknown } = parse({
    resourceList: [
      { resourceName: 'a', isRdma: true, selectors: { vendor: ['8086'], auxTypes: ['sf'] } },
      { resourceName: 'b', deviceType: 'accelerator', selectors: [{}, { pfNames: ['ens1'] }] },
    ],
  });
  assert.equal(resources.length, 2);
  assert.deepEqual(unknown, [
    'resourceList[0].isRdma',
    'resourceList[0].selectors.vendor',
    'resourceList[0].selectors.auxTypes',
    'resourceList[1].selectors[1].pfNames',
  ]);
});

describe('an entry with a mistake is told of, and the others count', () => {
  const range = 'with "#0-3,7" behind it for some VFs';
  const cases: readonly [title: string, entry: unknown, problem: string][] = [
    ['no name', {}, 'resourceName: expected a name, found nothing'],
    [
      'a name with a hyphen',
      { resourceName: 'a-b' },
      'resourceName: expected a name of letters, digits and _, found "a-b"',
    ],
    ['a name that is there already', { resourceName: 'good' }, 'resourceName: intel.com/good is there already'],
    [
      'a prefix that is a path',
      { resourceName: 'a', resourcePrefix: '../x' },
      'resourcePrefix: expected the name of a domain, such as intel.com, found "../x"',
    ],
    [
      'a type that is none',
      { resourceName: 'a', deviceType: 'gpu' },
      'deviceType: expected netDevice, accelerator or auxNetDevice, found "gpu"',
    ],
    ['no object', 'a', 'expected an object, found "a"'],
    [
      'selectors that are text',
      { resourceName: 'a', selectors: 'x' },
      'selectors: expected an object, or a list of some, found "x"',
    ],
    [
      'a vendor that is a name',
      { resourceName: 'a', selectors: { vendors: ['Intel'] } },
      '(intel.com/a): selectors: vendors[0]: expected four hexadecimal digits, such as "8086", found "Intel"',
    ],
    [
      'a list that is text',
      { resourceName: 'a', selectors: [{}, { drivers: 'ena' }] },
      '(intel.com/a): selectors[1]: drivers: expected a list of texts, found "ena"',
    ],
    [
      'an address that is none',
      { resourceName: 'a', selectors: { pciAddresses: ['03:02.1'] } },
      '(intel.com/a): selectors: pciAddresses[0]: expected a PCI address such as "0000:03:02.1", found "03:02.1"',
    ],
    [
      'a range that is none',
      { resourceName: 'a', selectors: { pfNames: ['ens1#0-a'] } },
      `(intel.com/a): selectors: pfNames[0]: expected the name of an interface, ${range}, found "ens1#0-a"`,
    ],
    [
      'a root device that is none',
      { resourceName: 'a', selectors: { rootDevices: ['ens1#0'] } },
      `(intel.com/a): selectors: rootDevices[0]: expected a PCI address, ${range}, found "ens1#0"`,
    ],
    [
      'vDPA and RDMA',
      { resourceName: 'a', selectors: { isRdma: true, vdpaType: 'vhost' } },
      '(intel.com/a): selectors: vdpaType and isRdma exclude one another',
    ],
    [
      'a type of vDPA that is none',
      { resourceName: 'a', selectors: { vdpaType: 'block' } },
      '(intel.com/a): selectors: vdpaType: expected vhost or virtio, found "block"',
    ],
  ];
  for (const [title, entry, problem] of cases) {
    test(title, () => {
      const { resources, problems } = parse({ resourceList: [{ resourceName: 'good' }, entry] });
      assert.deepEqual(problems, [`config.json: resourceList[1]${problem.startsWith('(') ? ' ' : ': '}${problem}`]);
      assert.deepEqual(
        resources.map(({ name }) => name),
        ['good'],
      );
    });
  }
});

test('a file that is no list of resources is an error that says so', () => {
  assert.throws(() => parseResourceConfig('{"resourceList": [', 'c.json'), /^CniError: c\.json: .*line 1/);
  assert.throws(() => parse([]), /config\.json: resourceList: expected a list of resources, found nothing/);
  assert.throws(() => parse({ resourceList: {} }), /resourceList: expected a list of resources, found \{\}/);
});
