import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import { at } from '../../src/playground/api/object.ts';
import { type Definition, defaultKey, definition, networksKey, nodesKey, resourceKey, review } from './reviews.ts';

const vf = 'intel.com/vf';

const definitions: readonly Definition[] = [
  definition('vf', { [resourceKey]: vf }),
  definition('other-vf', { [resourceKey]: vf }, 'other'),
  definition('dpdk', { [resourceKey]: 'intel.com/dpdk' }),
  definition('plain', {}),
  definition('claimed', { [resourceKey]: 'claim' }),
  definition('wrong', { [resourceKey]: 'no resource' }),
  definition('racks', { [nodesKey]: 'rack=7, zone = a' }),
  definition('rack8', { [nodesKey]: 'rack=8' }),
  definition('ssd', { [nodesKey]: 'ssd' }),
  definition('wrong-nodes', { [nodesKey]: 'a=b=c' }),
  definition('main', { [resourceKey]: vf }, 'kube-system'),
];

const pod = (annotations: JsonObject, ...containers: readonly JsonObject[]): JsonObject => ({
  metadata: { annotations },
  spec: { containers: containers.length === 0 ? [{ name: 'a' }] : containers },
});

const asking = (networks: string, ...containers: readonly JsonObject[]): JsonObject =>
  pod({ [networksKey]: networks }, ...containers);

const both = (amounts: JsonObject): JsonObject => ({ requests: amounts, limits: amounts });

const cases: readonly {
  readonly name: string;
  readonly pod: JsonObject;
  /** The resources of each container. */
  readonly resources?: readonly unknown[];
  readonly nodeSelector?: JsonObject;
  readonly warnings?: readonly RegExp[];
}[] = [
  { name: 'a pod that asks for no network is left alone', pod: pod({}), resources: [undefined] },
  { name: 'so is one whose networks name no resource', pod: asking('plain'), resources: [undefined] },
  {
    name: 'one network is one device, in the first container',
    pod: asking('vf', { name: 'a' }, { name: 'b' }),
    resources: [both({ [vf]: '1' }), undefined],
  },
  {
    name: 'networks of one resource are counted',
    pod: asking('vf, other/other-vf, vf'),
    resources: [both({ [vf]: '3' })],
  },
  {
    name: 'the JSON form is read, and resources are counted apart',
    pod: asking(JSON.stringify([{ name: 'vf' }, { name: 'dpdk' }, { name: 'other-vf', namespace: 'other' }])),
    resources: [both({ [vf]: '2', 'intel.com/dpdk': '1' })],
  },
  {
    name: "the default network's device is one more",
    pod: pod({ [defaultKey]: 'main', [networksKey]: 'vf' }),
    resources: [both({ [vf]: '2' })],
  },
  {
    name: 'what a container requests otherwise is kept',
    pod: asking('vf', { name: 'a', resources: { ...both({ cpu: '1' }), claims: [{ name: 'gpu' }] } }),
    resources: [{ ...both({ cpu: '1', [vf]: '1' }), claims: [{ name: 'gpu' }] }],
  },
  {
    name: 'resources with no more than null in them are filled',
    pod: asking('vf', { name: 'a', resources: { limits: null } }),
    resources: [both({ [vf]: '1' })],
  },
  {
    name: 'a request that suffices is honoured, wherever it is',
    pod: asking('vf,vf', { name: 'a' }, { name: 'b', resources: { limits: { [vf]: '2' } } }),
    resources: [undefined, { limits: { [vf]: '2' } }],
  },
  {
    name: 'more than the networks need is a wish of its own',
    pod: asking('vf', { name: 'a', resources: both({ [vf]: 4 }) }),
    resources: [both({ [vf]: 4 })],
  },
  {
    name: 'what is missing is added where some is requested already',
    pod: asking('vf,vf,vf', { name: 'a' }, { name: 'b', resources: both({ [vf]: '1' }) }),
    resources: [undefined, both({ [vf]: '3' })],
  },
  {
    name: 'requests of several containers count together',
    pod: asking(
      'vf,vf,vf',
      { name: 'a', resources: both({ [vf]: '1' }) },
      { name: 'b', resources: both({ [vf]: '1' }) },
    ),
    resources: [both({ [vf]: '2' }), both({ [vf]: '1' })],
  },
  {
    name: 'an amount with a suffix is a number',
    pod: asking('vf,vf', { name: 'a', resources: both({ [vf]: '1k' }) }),
    resources: [both({ [vf]: '1k' })],
  },
  {
    name: 'an amount that is no whole number is left alone, and told',
    pod: asking('vf', { name: 'a', resources: both({ [vf]: '500m' }) }),
    resources: [both({ [vf]: '500m' })],
    warnings: [/^resource intel\.com\/vf: .*no whole number/],
  },
  { name: 'devices of a ResourceClaim are not requested', pod: asking('claimed'), resources: [undefined] },
  {
    name: 'a device that the pod names itself, of a network that leaves the choice to it, is none to request',
    pod: asking(JSON.stringify([{ name: 'vf', 'device-id': '0000:01:00.0' }])),
    resources: [undefined],
  },
  {
    name: 'a network that is not there is a warning, and the others are given',
    pod: asking('nothere,vf'),
    resources: [both({ [vf]: '1' })],
    warnings: [/^cannot find a network-attachment-definition \(nothere\) in namespace \(default\)/],
  },
  {
    name: 'a resource that can be none is a warning',
    pod: asking('wrong'),
    resources: [undefined],
    warnings: [
      /^NetworkAttachmentDefinition default\/wrong, annotation .*resourceName: expected the name of a resource/,
    ],
  },
  {
    name: 'an annotation that cannot be read is a warning',
    pod: pod({ [networksKey]: '[{"name": 5}]', [defaultKey]: 'a,b' }),
    resources: [undefined],
    warnings: [
      /^annotation v1\.multus-cni\.io\/default-network: expected exactly one/,
      /^annotation .*networks: \[0\]\.name: /,
    ],
  },
  { name: 'labels of nodes are added', pod: asking('racks,ssd'), nodeSelector: { rack: '7', zone: 'a', ssd: '' } },
  {
    name: "they are added to the pod's own, and count more",
    pod: {
      metadata: { annotations: { [networksKey]: 'racks' } },
      spec: { containers: [{ name: 'a' }], nodeSelector: { rack: '1', arch: 'arm' } },
    },
    nodeSelector: { rack: '7', arch: 'arm', zone: 'a' },
    warnings: [/^network default\/racks is on nodes with rack=7, in the place of rack=1$/],
  },
  {
    name: 'of two networks on different nodes that is told',
    pod: asking('racks,rack8'),
    nodeSelector: { rack: '8', zone: 'a' },
    warnings: [/^network default\/rack8 is on nodes with rack=8, in the place of rack=7$/],
  },
  {
    name: 'labels that can be none are a warning',
    pod: asking('wrong-nodes'),
    warnings: [
      /^NetworkAttachmentDefinition default\/wrong-nodes, annotation .*nodeSelector: expected a label of nodes.*"a=b=c"$/,
    ],
  },
  {
    name: "a pod with the node's own interfaces gets none of it",
    pod: {
      metadata: { annotations: { [networksKey]: 'vf,racks' } },
      spec: { containers: [{ name: 'a' }], hostNetwork: true },
    },
    resources: [undefined],
  },
];

describe('new pods', () => {
  for (const { name, pod: given, resources, nodeSelector, warnings = [] } of cases) {
    test(name, async () => {
      const { verdict, pod: made } = await review(given, definitions);
      assert.equal(verdict.refusal, undefined);
      const containers = at(made, 'spec.containers');
      assert.ok(Array.isArray(containers));
      if (resources !== undefined)
        assert.deepEqual(
          containers.map((each) => at(each, 'resources')),
          resources,
        );
      assert.deepEqual(at(made, 'spec.nodeSelector'), nodeSelector);
      const told = verdict.warnings ?? [];
      assert.equal(told.length, warnings.length, told.join('\n'));
      for (const [index, pattern] of warnings.entries()) assert.match(told[index] ?? '', pattern);
      assert.ok(isJsonObject(made));
      const again = await review(made, definitions);
      assert.deepEqual(again.verdict.patch ?? [], [], 'asked again, it changes something');
    });
  }

  test('devices of init containers that go on running count, those of others do not', async () => {
    const init = (restartPolicy: string | undefined): JsonObject => ({
      metadata: { annotations: { [networksKey]: 'vf' } },
      spec: {
        containers: [{ name: 'a' }],
        initContainers: [{ name: 'i', ...(restartPolicy && { restartPolicy }), resources: both({ [vf]: '1' }) }],
      },
    });
    assert.deepEqual((await review(init('Always'), definitions)).verdict.patch, []);
    assert.equal((await review(init(undefined), definitions)).verdict.patch?.length, 1);
  });

  test('what is no creation of a pod is let be', async () => {
    for (const request of [{ operation: 'UPDATE' }, { operation: 'DELETE' }, { subResource: 'status' }] as const) {
      assert.deepEqual((await review(asking('vf'), definitions, { request })).verdict, {});
    }
  });

  test('a network that cannot be known now leaves the question without an answer', async () => {
    await assert.rejects(review(asking('vf,away'), definitions), { code: 11 });
  });

  test("a network without a namespace is of the request's, where the pod does not say its own yet", async () => {
    const { pod: made } = await review(asking('other-vf'), definitions, { request: { namespace: 'other' } });
    assert.equal(at(made, 'spec.containers') === undefined, false);
    assert.deepEqual(JSON.stringify(made).includes(vf), true);
  });

  test('what is no pod is no question', async () => {
    await assert.rejects(
      review({ metadata: {}, spec: { containers: [] } }, definitions),
      /^Error: expected a pod: spec\.containers: /,
    );
  });
});

describe('the downward API', () => {
  const huge = {
    name: 'b',
    resources: both({ 'hugepages-1Gi': '2Gi', 'hugepages-2Mi': '0' }),
    env: [{ name: 'X', value: '1' }],
  };
  const shown = (given: JsonObject) => review(given, definitions, { downwardApi: true });

  test('shows containers their pod, and the huge pages that they have', async () => {
    const { pod: made } = await shown(asking('vf', { name: 'a' }, huge));
    const mount = { name: 'podnetinfo', mountPath: '/etc/podnetinfo', readOnly: true };
    const field = (kind: string) => ({
      path: `hugepages_1G_${kind}_b`,
      resourceFieldRef: { containerName: 'b', resource: `${kind}s.hugepages-1Gi`, divisor: '1Mi' },
    });
    assert.deepEqual(at(made, 'spec'), {
      containers: [
        { name: 'a', resources: both({ [vf]: '1' }), volumeMounts: [mount] },
        {
          ...huge,
          env: [
            { name: 'X', value: '1' },
            { name: 'CONTAINER_NAME', value: 'b' },
          ],
          volumeMounts: [mount],
        },
      ],
      volumes: [
        {
          name: 'podnetinfo',
          downwardAPI: {
            items: [
              { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
              { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
              field('request'),
              field('limit'),
            ],
          },
        },
      ],
    });
    assert.ok(isJsonObject(made));
    assert.deepEqual((await shown(made)).verdict.patch, []);
  });

  test('is for pods whose networks have devices', async () => {
    assert.deepEqual((await shown(asking('plain', huge))).verdict.patch, []);
  });
});
