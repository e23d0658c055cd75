import type { JsonObject, JsonValue } from '../../cni/json.ts';
import { at, type KubernetesObject, listAt, metadataOf, textAt } from './object.ts';
import type { Resource } from './resources.ts';

interface Column {
  readonly name: string;
  readonly value: (object: KubernetesObject, now: number) => string | number;
  /** Shown with `-o wide` only. */
  readonly wide?: true;
  readonly format?: 'name';
}

const name: Column = { name: 'Name', format: 'name', value: ({ metadata }) => metadata.name };
const age: Column = { name: 'Age', value: ({ metadata }, now) => since(metadata.creationTimestamp, now) };
const none = (text: string): string => text || '<none>';

/** The columns of `kubectl get`, as kubernetes/pkg/printers/internalversion has them. */
const columns: Readonly<Record<string, readonly Column[]>> = {
  Pod: [
    name,
    { name: 'Ready', value: readyContainers },
    { name: 'Status', value: podStatus },
    { name: 'Restarts', value: restarts },
    age,
    { name: 'IP', wide: true, value: (pod) => none(textAt(pod, 'status.podIP')) },
    { name: 'Node', wide: true, value: (pod) => none(textAt(pod, 'spec.nodeName')) },
    { name: 'Nominated Node', wide: true, value: (pod) => none(textAt(pod, 'status.nominatedNodeName')) },
    { name: 'Readiness Gates', wide: true, value: () => '<none>' },
  ],
  Node: [
    name,
    { name: 'Status', value: nodeStatus },
    { name: 'Roles', value: nodeRoles },
    age,
    { name: 'Version', value: (node) => textAt(node, 'status.nodeInfo.kubeletVersion') },
    { name: 'Internal-IP', wide: true, value: (node) => nodeAddress(node, 'InternalIP') },
    { name: 'External-IP', wide: true, value: (node) => nodeAddress(node, 'ExternalIP') },
    { name: 'OS-Image', wide: true, value: (node) => textAt(node, 'status.nodeInfo.osImage') || '<unknown>' },
    {
      name: 'Kernel-Version',
      wide: true,
      value: (node) => textAt(node, 'status.nodeInfo.kernelVersion') || '<unknown>',
    },
    {
      name: 'Container-Runtime',
      wide: true,
      value: (node) => textAt(node, 'status.nodeInfo.containerRuntimeVersion') || '<unknown>',
    },
  ],
  Namespace: [name, { name: 'Status', value: (object) => textAt(object, 'status.phase') }, age],
  Event: [
    {
      name: 'Last Seen',
      value: (event, now) => since(textAt(event, 'lastTimestamp') || textAt(event, 'eventTime'), now),
    },
    { name: 'Type', value: (event) => textAt(event, 'type') },
    { name: 'Reason', value: (event) => textAt(event, 'reason') },
    { name: 'Object', value: eventObject },
    { name: 'Subobject', wide: true, value: (event) => textAt(event, 'involvedObject.fieldPath') },
    { name: 'Source', wide: true, value: eventSource },
    { name: 'Message', value: (event) => textAt(event, 'message').trim() },
    {
      name: 'First Seen',
      wide: true,
      value: (event, now) => since(textAt(event, 'firstTimestamp') || textAt(event, 'eventTime'), now),
    },
    { name: 'Count', wide: true, value: (event) => Number(at(event, 'count') ?? 1) },
    { ...name, wide: true },
  ],
};

/**
 * The answer to `Accept: application/json;as=Table`: meta/v1 Table.
 *
 * @param include What a row carries of its object, as the query parameter `includeObject` says.
 */
export function tableOf(
  resource: Resource,
  objects: readonly KubernetesObject[],
  metadata: JsonObject,
  include: string,
): JsonValue {
  const shown = columns[resource.kind] ?? [name, age];
  const now = Date.now();
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: shown.map((column) => ({
      name: column.name,
      type: 'string',
      format: column.format ?? '',
      description: column.name,
      priority: column.wide ? 1 : 0,
    })),
    rows: objects.map((object) => ({
      cells: shown.map((column) => column.value(object, now)),
      object: rowObject(object, include),
    })),
  };
}

function rowObject(object: KubernetesObject, include: string): JsonValue {
  if (include === 'None') return null;
  if (include === 'Object') return object;
  return metadataOf(object);
}

function readyContainers(pod: KubernetesObject): string {
  const statuses = listAt(pod, 'status.containerStatuses');
  return `${statuses.filter((status) => at(status, 'ready') === true).length}/${listAt(pod, 'spec.containers').length}`;
}

/** What keeps a container from running, the first one that is kept, says more than the pod's phase. */
function podStatus(pod: KubernetesObject): string {
  if (pod.metadata.deletionTimestamp) return 'Terminating';
  const statuses = listAt(pod, 'status.containerStatuses');
  const [reason] = statuses.flatMap((status) => waitingReason(status) ?? []);
  const isRunning = statuses.some(
    (status) => at(status, 'ready') === true && at(status, 'state.running') !== undefined,
  );
  if (reason === 'Completed' && isRunning) return 'Running';
  return reason ?? (textAt(pod, 'status.reason') || none(textAt(pod, 'status.phase')));
}

function waitingReason(status: JsonValue): string | undefined {
  const reason = textAt(status, 'state.waiting.reason') || textAt(status, 'state.terminated.reason');
  if (reason !== '' || at(status, 'state.terminated') === undefined) return reason || undefined;
  const signal = textAt(status, 'state.terminated.signal');
  return signal === '' ? `ExitCode:${textAt(status, 'state.terminated.exitCode')}` : `Signal:${signal}`;
}

function restarts(pod: KubernetesObject): number {
  return listAt(pod, 'status.containerStatuses').reduce<number>(
    (sum, status) => sum + Number(at(status, 'restartCount') ?? 0),
    0,
  );
}

function nodeStatus(node: KubernetesObject): string {
  const ready = listAt(node, 'status.conditions').find((condition) => textAt(condition, 'type') === 'Ready');
  const status = ready === undefined ? 'Unknown' : textAt(ready, 'status') === 'True' ? 'Ready' : 'NotReady';
  return at(node, 'spec.unschedulable') === true ? `${status},SchedulingDisabled` : status;
}

function nodeRoles(node: KubernetesObject): string {
  const prefix = 'node-role.kubernetes.io/';
  const roles = Object.keys(node.metadata.labels ?? {}).flatMap((label) =>
    label.startsWith(prefix) ? label.slice(prefix.length) : [],
  );
  return none(roles.sort().join(','));
}

function nodeAddress(node: KubernetesObject, type: string): string {
  return none(
    textAt(
      listAt(node, 'status.addresses').find((address) => textAt(address, 'type') === type),
      'address',
    ),
  );
}

function eventObject(event: KubernetesObject): string {
  return `${textAt(event, 'involvedObject.kind').toLowerCase()}/${textAt(event, 'involvedObject.name')}`;
}

function eventSource(event: KubernetesObject): string {
  const component = textAt(event, 'source.component') || textAt(event, 'reportingComponent');
  return [component, textAt(event, 'source.host')].filter((part) => part !== '').join(', ');
}

function since(timestamp: string | null | undefined, now: number): string {
  return timestamp ? humanDuration(now - Date.parse(timestamp)) : '<unknown>';
}

/** As kubectl writes an age: two units while the larger one is small (apimachinery, util/duration). */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const years = Math.floor(days / 365);
  const both = (large: number, unit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${large}${unit}` : `${large}${unit}${small}${smallUnit}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return both(minutes, 'm', seconds % 60, 's');
  if (hours < 3) return `${minutes}m`;
  if (hours < 8) return both(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return both(days, 'd', hours % 24, 'h');
  if (years < 2) return `${days}d`;
  if (years < 8) return both(years, 'y', days % 365, 'd');
  return `${years}y`;
}
