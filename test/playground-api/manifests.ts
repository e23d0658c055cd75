import type { KubernetesObject } from '../../src/playground/api/object.ts';

/** A pod as a scheduler has left it: on a node. */
export function pod(
  name: string,
  more: { node?: string; namespace?: string; annotations?: Record<string, string> } = {},
) {
  const { node = 'node-1', namespace = 'default', annotations = {} } = more;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, annotations },
    spec: { nodeName: node, containers: [{ name: 'main', image: 'example.org/main:1' }] },
  } satisfies KubernetesObject;
}

export function network(name: string, config = '{}', namespace = 'default') {
  return {
    apiVersion: 'k8s.cni.cncf.io/v1',
    kind: 'NetworkAttachmentDefinition',
    metadata: { name, namespace },
    spec: { config },
  } satisfies KubernetesObject;
}
