import type { JsonObject, JsonValue } from '../cni/json.ts';
import type { Result } from '../cni/result.ts';
import { formatIP, parsePrefix } from '../net/ip.ts';
import { type KubernetesObject, listAt, textAt } from './api/object.ts';

/** Times of Kubernetes are whole seconds. */
const timestamp = (): string => `${new Date().toISOString().slice(0, 19)}Z`;

/** A pod's status as the scheduler and then the kubelet leave it while its sandbox is made. */
export function pendingStatus(pod: KubernetesObject, reason: string): JsonObject {
  const state = { waiting: { reason } };
  return {
    phase: 'Pending',
    conditions: conditions({ PodScheduled: true, Initialized: true, Ready: false, ContainersReady: false }),
    containerStatuses: containerStatuses(pod, { ready: false, started: false, state }),
    ...common(pod),
  };
}

/**
 * The status of a pod that runs. Its containers exist in name only: what is tried out here is their network.
 *
 * @param result The answer to ADD: the pod's addresses are those of its default network.
 * @param hostIP The node's address.
 */
export function runningStatus(pod: KubernetesObject, result: Pick<Result, 'ips'>, hostIP: string): JsonObject {
  const podIPs = result.ips.map(({ address }) => ({ ip: formatIP(parsePrefix(address).ip) }));
  const state = { running: { startedAt: timestamp() } };
  return {
    phase: 'Running',
    conditions: conditions({
      PodReadyToStartContainers: true,
      Initialized: true,
      Ready: true,
      ContainersReady: true,
      PodScheduled: true,
    }),
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(podIPs[0] && { podIP: podIPs[0].ip, podIPs }),
    containerStatuses: containerStatuses(pod, { ready: true, started: true, state }),
    ...common(pod),
  };
}

function common(pod: KubernetesObject): JsonObject {
  return { startTime: textAt(pod, 'status.startTime') || timestamp(), qosClass: 'BestEffort' };
}

function conditions(states: Readonly<Record<string, boolean>>): JsonValue {
  return Object.entries(states).map(([type, isTrue]) => ({
    type,
    status: isTrue ? 'True' : 'False',
    lastProbeTime: null,
    lastTransitionTime: timestamp(),
  }));
}

function containerStatuses(pod: KubernetesObject, status: JsonObject): JsonValue {
  const containers = listAt(pod, 'spec.containers');
  return containers.map((container) => ({
    name: textAt(container, 'name'),
    image: textAt(container, 'image'),
    imageID: '',
    restartCount: 0,
    ...status,
  }));
}

/** The node's object, as a kubelet registers it. */
export function nodeObject(name: string, hostIP: string, info: JsonObject): KubernetesObject {
  const resources = { cpu: '2', memory: '4Gi', pods: '110' };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux' } },
    spec: {},
    status: {
      addresses: [
        { type: 'InternalIP', address: hostIP },
        { type: 'Hostname', address: name },
      ],
      capacity: resources,
      allocatable: resources,
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: 'KubeletReady',
          message: 'the node takes pods',
          lastHeartbeatTime: timestamp(),
          lastTransitionTime: timestamp(),
        },
      ],
      nodeInfo: info,
    },
  };
}
