import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { file_src_kubelet_device_plugin as devicePlugin } from '../../src/kubelet/device-plugin_pb.ts';
import { file_src_kubelet_pod_resources as podResources } from '../../src/kubelet/pod-resources_pb.ts';

/** Every field with its number, and every method, as `message.field = number` and `service.method`. */
function declaredIn(text: string): string[] {
  let owner = '';
  return text.split('\n').flatMap((line) => {
    owner = /^(?:message|service) (\w+)/.exec(line)?.[1] ?? owner;
    const [, field, number] = /^ {2}.* (\w+) = (\d+);$/.exec(line) ?? [];
    const [, method] = /^ {2}rpc (\w+)\(/.exec(line) ?? [];
    return [...(field ? [`${owner}.${field} = ${number}`] : []), ...(method ? [`${owner}.${method}`] : [])];
  });
}

for (const [file, generated] of [
  ['pod-resources.proto', podResources],
  ['device-plugin.proto', devicePlugin],
] as const) {
  test(`the generated types are those of ${file}: make proto was run`, () => {
    const text = readFileSync(join(import.meta.dirname, '../../src/kubelet', file), 'utf8');
    const described = [
      ...generated.messages.flatMap(({ name, fields }) =>
        fields.map((field) => `${name}.${field.name} = ${field.number}`),
      ),
      ...generated.services.flatMap(({ name, methods }) => methods.map((method) => `${name}.${method.name}`)),
    ];
    assert.ok(described.length > 10);
    assert.deepEqual(declaredIn(text).sort(), described.sort());
  });
}
