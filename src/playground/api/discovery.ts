import { createHash } from 'node:crypto';
import type { JsonValue } from '../../cni/json.ts';
import { type Resource, resources } from './resources.ts';

const verbs = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];

const subresourceVerbs = ['get', 'patch', 'update'];

const subresourcesOf = ({ status, approval }: Pick<Resource, 'status' | 'approval'>): string[] => [
  ...(status ? ['status'] : []),
  ...(approval ? ['approval'] : []),
];

/** The version of Kubernetes that this API follows. */
const release = { major: '1', minor: '32', gitVersion: 'v1.32.0+plexus' };

const groups = [...new Set(resources.map((resource) => resource.group))];
const named = groups.filter((group) => group !== '');
const versionsOf = (group: string): string[] => [
  ...new Set(resources.filter((resource) => resource.group === group).map((resource) => resource.version)),
];

export interface Discovery {
  readonly body: JsonValue | Buffer;
  readonly contentType: string;
}

/**
 * Answers the paths by which clients find out what is served.
 *
 * @param accept The request's Accept header: newer clients ask for all groups in one document.
 * @returns The document and its content type, or undefined where the path is not one of these.
 */
export function discover(path: string, accept: string): Discovery | undefined {
  const json = 'application/json';
  const aggregated = accept.includes('as=APIGroupDiscoveryList') && accept.includes('v=v2;');
  const asList = `${json};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`;
  if (path === '/api' && aggregated) return { body: groupDiscoveryList(['']), contentType: asList };
  if (path === '/apis' && aggregated) return { body: groupDiscoveryList(named), contentType: asList };
  if (path === '/openapi/v2') return openapiV2(accept);
  const body = legacy(path) ?? openapiV3(path);
  return body === undefined ? undefined : { body, contentType: json };
}

function legacy(path: string): JsonValue | undefined {
  if (path === '/version')
    return {
      ...release,
      platform: 'linux/amd64',
      goVersion: '',
      compiler: '',
      buildDate: '',
      gitCommit: '',
      gitTreeState: '',
    };
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: named.map(apiGroup) };
  const [, group = '', version] = /^\/api(?:s\/([^/]+))?(?:\/([^/]+))?$/.exec(path) ?? [];
  if (version === undefined)
    return named.includes(group) ? { kind: 'APIGroup', apiVersion: 'v1', ...apiGroup(group) } : undefined;
  const served = resources.filter((resource) => resource.group === group && resource.version === version);
  if (served.length === 0) return undefined;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources: served.flatMap(({ plural, singular, namespaced, kind, shortNames, categories, ...rest }) => [
      {
        name: plural,
        singularName: singular,
        namespaced,
        kind,
        verbs,
        shortNames: [...shortNames],
        categories: [...categories],
      },
      ...subresourcesOf(rest).map((subresource) => ({
        name: `${plural}/${subresource}`,
        singularName: '',
        namespaced,
        kind,
        verbs: subresourceVerbs,
      })),
    ]),
  };
}

function apiGroup(group: string): { [key: string]: JsonValue } {
  const versions = versionsOf(group).map((version) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions, preferredVersion: versions[0] ?? null };
}

function groupDiscoveryList(of: readonly string[]): JsonValue {
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: 'apidiscovery.k8s.io/v2',
    metadata: {},
    items: of.map((group) => ({
      metadata: { name: group },
      versions: versionsOf(group).map((version) => ({
        version,
        freshness: 'Current',
        resources: resources.filter((item) => item.group === group && item.version === version).map(resourceDiscovery),
      })),
    })),
  };
}

function resourceDiscovery(resource: Resource): JsonValue {
  const { group, version, kind, plural, singular, namespaced, shortNames, categories } = resource;
  const responseKind = { group, version, kind };
  return {
    resource: plural,
    responseKind,
    scope: namespaced ? 'Namespaced' : 'Cluster',
    singularResource: singular,
    shortNames: [...shortNames],
    categories: [...categories],
    verbs,
    subresources: subresourcesOf(resource).map((subresource) => ({
      subresource,
      responseKind,
      verbs: subresourceVerbs,
    })),
  };
}

/**
 * As much of OpenAPI v3 as kubectl reads before it sends an object: that the server takes `fieldValidation`, so that
 * kubectl leaves the checking of fields to it.
 */
function openapiV3(path: string): JsonValue | undefined {
  if (path === '/openapi/v3') {
    const paths = resources.map((resource) => {
      const at = apiPath(resource).slice(1);
      const hash = createHash('sha256').update(at).digest('hex').slice(0, 32);
      return [at, { serverRelativeURL: `/openapi/v3/${at}?hash=${hash}` }];
    });
    return { paths: Object.fromEntries(paths) };
  }
  const served = resources.filter((resource) => path === `/openapi/v3${apiPath(resource)}`);
  if (served.length === 0) return undefined;
  const fieldValidation = { name: 'fieldValidation', in: 'query', schema: { type: 'string' } };
  const paths = served.map(({ group, version, kind, plural, namespaced }) => [
    `${apiPath({ group, version })}${namespaced ? '/namespaces/{namespace}' : ''}/${plural}/{name}`,
    {
      patch: {
        parameters: [fieldValidation],
        responses: {},
        'x-kubernetes-action': 'patch',
        'x-kubernetes-group-version-kind': { group, version, kind },
      },
    },
  ]);
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: release.gitVersion },
    paths: Object.fromEntries(paths),
  };
}

/** What older kubectl reads instead: a document without types, which has it leave the checking of fields to the server. */
function openapiV2(accept: string): Discovery {
  const contentType = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
  // Older clients ask for it by a name with an @, which is none by RFC 2045 and which they themselves cannot read.
  const asked = [contentType, contentType.replace('.v1.0', '@v1.0')];
  // gnostic's Document with nothing in it but field 1, swagger.
  if (asked.some((type) => accept.includes(type))) return { body: Buffer.from('\n\x032.0'), contentType };
  const info = { title: 'Kubernetes', version: release.gitVersion };
  return { body: { swagger: '2.0', info, paths: {} }, contentType: 'application/json' };
}

/** `/api/v1`, `/apis/k8s.cni.cncf.io/v1`. */
export function apiPath(resource: Pick<Resource, 'group' | 'version'>): string {
  return resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
}
