import type { KubernetesObject } from './object.ts';

/** A kind of object that the API serves. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** As in paths. */
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** Has a status subresource. */
  readonly status: boolean;
  /** Has an approval subresource: that of certificates. */
  readonly approval?: boolean;
  /** Fields that a field selector may name, besides metadata.name and metadata.namespace. */
  readonly fields: readonly string[];
}

/** Names of objects and namespaces: a DNS subdomain (RFC 1123). */
export function isName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text);
}

const core = { group: '', version: 'v1', shortNames: [], categories: [], fields: [] } as const;

const eventFields = [
  'involvedObject.kind',
  'involvedObject.namespace',
  'involvedObject.name',
  'involvedObject.uid',
  'involvedObject.apiVersion',
  'involvedObject.resourceVersion',
  'involvedObject.fieldPath',
  'reason',
  'reportingComponent',
  'source',
  'type',
];

export const pods: Resource = {
  ...core,
  kind: 'Pod',
  plural: 'pods',
  singular: 'pod',
  shortNames: ['po'],
  categories: ['all'],
  namespaced: true,
  status: true,
  fields: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
  ],
};

export const nodes: Resource = {
  ...core,
  kind: 'Node',
  plural: 'nodes',
  singular: 'node',
  shortNames: ['no'],
  namespaced: false,
  status: true,
  fields: ['spec.unschedulable'],
};

export const namespaces: Resource = {
  ...core,
  kind: 'Namespace',
  plural: 'namespaces',
  singular: 'namespace',
  shortNames: ['ns'],
  namespaced: false,
  status: true,
  fields: ['status.phase'],
};

export const events: Resource = {
  ...core,
  kind: 'Event',
  plural: 'events',
  singular: 'event',
  shortNames: ['ev'],
  namespaced: true,
  status: false,
  fields: eventFields,
};

export const networkAttachmentDefinitions: Resource = {
  group: 'k8s.cni.cncf.io',
  version: 'v1',
  kind: 'NetworkAttachmentDefinition',
  plural: 'network-attachment-definitions',
  singular: 'network-attachment-definition',
  shortNames: ['net-attach-def'],
  categories: [],
  namespaced: true,
  status: false,
  fields: [],
};

const allocation = { group: 'resource.k8s.io', version: 'v1', shortNames: [], categories: [] } as const;

export const resourceClaims: Resource = {
  ...allocation,
  kind: 'ResourceClaim',
  plural: 'resourceclaims',
  singular: 'resourceclaim',
  namespaced: true,
  status: true,
  fields: [],
};

export const resourceSlices: Resource = {
  ...allocation,
  kind: 'ResourceSlice',
  plural: 'resourceslices',
  singular: 'resourceslice',
  namespaced: false,
  status: false,
  fields: ['spec.nodeName', 'spec.driver'],
};

export const certificateSigningRequests: Resource = {
  group: 'certificates.k8s.io',
  version: 'v1',
  kind: 'CertificateSigningRequest',
  plural: 'certificatesigningrequests',
  singular: 'certificatesigningrequest',
  shortNames: ['csr'],
  categories: [],
  namespaced: false,
  status: true,
  approval: true,
  fields: ['spec.signerName'],
};

export const secrets: Resource = {
  ...core,
  kind: 'Secret',
  plural: 'secrets',
  singular: 'secret',
  namespaced: true,
  status: false,
  fields: ['type'],
};

const admission = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  shortNames: [],
  categories: ['api-extensions'],
  namespaced: false,
  status: false,
  fields: [],
} as const;

export const mutatingWebhookConfigurations: Resource = {
  ...admission,
  kind: 'MutatingWebhookConfiguration',
  plural: 'mutatingwebhookconfigurations',
  singular: 'mutatingwebhookconfiguration',
};

export const validatingWebhookConfigurations: Resource = {
  ...admission,
  kind: 'ValidatingWebhookConfiguration',
  plural: 'validatingwebhookconfigurations',
  singular: 'validatingwebhookconfiguration',
};

export const resources: readonly Resource[] = [
  pods,
  nodes,
  namespaces,
  events,
  networkAttachmentDefinitions,
  resourceClaims,
  resourceSlices,
  certificateSigningRequests,
  secrets,
  mutatingWebhookConfigurations,
  validatingWebhookConfigurations,
];

export function groupVersion(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** How Kubernetes names a resource in messages: `pods`, `network-attachment-definitions.k8s.cni.cncf.io`. */
export function qualifiedName(resource: Resource): string {
  return resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
}

/** The resource that an object belongs to by its apiVersion and kind, or undefined where none is served. */
export function resourceOf(object: Pick<KubernetesObject, 'apiVersion' | 'kind'>): Resource | undefined {
  return resources.find((resource) => resource.kind === object.kind && groupVersion(resource) === object.apiVersion);
}
