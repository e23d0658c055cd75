import { setTimeout as sleep } from 'node:timers/promises';
import { namespaces, networkAttachmentDefinitions } from '../../src/playground/api/resources.ts';
import type { Admin } from '../support/admin.ts';
import { userName } from '../support/kube-apiserver.ts';

const { group, version, kind, plural, singular, shortNames } = networkAttachmentDefinitions;

/** As the Network Plumbing Working Group publishes it (k8snetworkplumbingwg/network-attachment-definition-client). */
const definition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.${group}` },
  spec: {
    group,
    scope: 'Namespaced',
    names: { kind, plural, singular, shortNames },
    versions: [
      {
        name: version,
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              apiVersion: { type: 'string' },
              kind: { type: 'string' },
              metadata: { type: 'object' },
              spec: { type: 'object', properties: { config: { type: 'string' } } },
            },
          },
        },
      },
    ],
  },
};

/** All that a daemon asks for, and no more. */
const rules = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
  { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
  { apiGroups: ['resource.k8s.io'], resources: ['resourceclaims'], verbs: ['get'] },
  { apiGroups: ['resource.k8s.io'], resources: ['resourceslices'], verbs: ['list'] },
  { apiGroups: ['certificates.k8s.io'], resources: ['certificatesigningrequests'], verbs: ['create', 'get'] },
  { apiGroups: [group], resources: [plural], verbs: ['get', 'list', 'watch'] },
];

const rbac = { apiGroup: 'rbac.authorization.k8s.io' };
const name = userName;

/** Has a new kube-apiserver serve networks, and lets the tests' user do what the daemon does. */
export async function prepare(admin: Admin): Promise<void> {
  await admin.ask('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', definition);
  const roles = '/apis/rbac.authorization.k8s.io/v1';
  await admin.ask('POST', `${roles}/clusterroles`, { metadata: { name }, rules });
  await admin.ask('POST', `${roles}/clusterrolebindings`, {
    metadata: { name },
    roleRef: { ...rbac, kind: 'ClusterRole', name },
    // By its token, and by a certificate of a node's own.
    subjects: [
      { ...rbac, kind: 'User', name },
      { ...rbac, kind: 'Group', name: 'system:multus' },
    ],
  });
  await untilThere(() => admin.list(networkAttachmentDefinitions));
  await untilThere(() => admin.get(namespaces, '', 'default'));
}

/** A server makes its namespaces, and begins to serve a custom resource, a moment after it was asked to. */
async function untilThere(look: () => Promise<unknown>): Promise<void> {
  for (let left = 600; ; left--) {
    try {
      return void (await look());
    } catch (error) {
      if (left === 0) throw error;
      await sleep(50);
    }
  }
}
