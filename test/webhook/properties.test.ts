import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/cni/json.ts';
import { jsonPatch } from '../../src/playground/api/json-patch.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { injectResources } from '../../src/webhook/inject-resources.ts';
import { reviewNetwork } from '../../src/webhook/networks.ts';
import { podSpec } from '../../src/webhook/pod-spec.ts';
import { definition, networksKey, requestOf, resourceKey, review } from './reviews.ts';

const types = builtinPlugins.map(({ type }) => type);
const known = { builtin: new Set(types), executed: new Set<string>() };

/** Keys of plugins, for values of all kinds to stand at. */
const keys = [
  'master',
  'mode',
  'mtu',
  'mac',
  'bridge',
  'vlan',
  'vlanId',
  'vlanTrunk',
  'device',
  'hwaddr',
  'pciBusID',
  'sysctl',
  'ranges',
  'subnet',
  'rangeStart',
  'rangeEnd',
  'gateway',
  'routes',
  'addresses',
  'dns',
  'args',
  'runtimeConfig',
  'capabilities',
  'ipam',
  'vni',
  'remotes',
  'table',
  'vrfname',
  'backend',
  'snat',
  'conditionsV4',
  'ingressRate',
  'egressBurst',
  'request',
  'provide',
  'deviceID',
  'vlanQoS',
  'trust',
  'prevResult',
  'cniVersion',
  'name',
  'plugins',
  'type',
];

const value = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<JsonValue>(
    '10.0.0.0/24',
    '10.0.0.1',
    'fd00::/64',
    '',
    '02:00:00:00:00:01',
    -1,
    0,
    4096,
    2 ** 53,
    1e300,
    true,
    null,
  ),
);
const record = fc.dictionary(fc.constantFrom(...keys), value, { maxKeys: 8 });
const plugin = fc
  .tuple(fc.constantFrom(...types), record, fc.option(fc.tuple(fc.constantFrom(...types), record), { nil: undefined }))
  .map(([type, own, ipam]) => ({ ...own, type, ...(ipam && { ipam: { ...ipam[1], type: ipam[0] } }) }));
const config = fc.oneof(
  plugin.map((each) => JSON.stringify({ cniVersion: '1.0.0', ...each })),
  fc.array(plugin, { maxLength: 3 }).map((plugins) => JSON.stringify({ cniVersion: '1.0.0', plugins })),
  fc.json(),
  fc.string(),
);

test('whatever a definition says, it is allowed or refused with a reason', () => {
  fc.assert(
    fc.property(config, fc.string(), (spec, resource) => {
      const object = { metadata: { name: 'n', annotations: { [resourceKey]: resource } }, spec: { config: spec } };
      const { refusal } = reviewNetwork(requestOf('network-attachment-definitions', object), known);
      assert.ok(refusal === undefined || refusal.length > 0);
    }),
    { numRuns: 2_000 },
  );
});

test('whatever a pod asks for, it is never refused, and its patch fits', async () => {
  const annotation = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom('vf', 'vf,vf', '[{"name":"vf"}]', 'vf@net1,other/vf'),
  );
  await fc.assert(
    fc.asyncProperty(annotation, async (networks) => {
      const pod: JsonObject = {
        metadata: { annotations: { [networksKey]: networks } },
        spec: { containers: [{ name: 'a' }] },
      };
      const { verdict } = await review(pod, [definition('vf', { [resourceKey]: 'intel.com/vf' })], {
        downwardApi: true,
      });
      assert.equal(verdict.refusal, undefined);
    }),
    { numRuns: 500 },
  );
});

const amount = fc.option(fc.constantFrom<string | number>(0, 1, '2', '3', '1k'), { nil: undefined });
const container = fc.record({ limits: amount, requests: amount }).map(({ limits, requests }) => {
  const of = (given: string | number | undefined) => (given === undefined ? {} : { r: given });
  return { name: 'a', resources: { limits: of(limits), requests: of(requests) } };
});

test('after it, a pod requests what its networks need, or more; and no container requests less than before', () => {
  const requested = ({ containers }: ReturnType<typeof podSpec.parse>): number[] =>
    containers.map(({ resources }) => {
      const found = String(resources?.requests?.['r'] ?? resources?.limits?.['r'] ?? 0);
      return found === '1k' ? 1000 : Number(found);
    });
  fc.assert(
    fc.property(
      fc.array(container, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 6 }),
      (containers, count) => {
        const spec = podSpec.parse({ containers });
        const wanted = new Map([['r', count]]);
        const patch = injectResources(spec, wanted, []);
        const made = jsonPatch({ spec: { containers } }, patch);
        assert.ok(isJsonObject(made));
        const after = podSpec.parse(made['spec']);
        const [was, is] = [requested(spec), requested(after)];
        const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
        assert.equal(sum(is), Math.max(sum(was), count));
        assert.ok(is.every((each, index) => each >= (was[index] ?? 0)));
        assert.deepEqual(injectResources(after, wanted, []), []);
      },
    ),
  );
});
