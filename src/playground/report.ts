import { at, listAt, textAt } from './api/object.ts';
import { describeEvents, table } from './describe.ts';
import { drawPod } from './drawing.ts';
import type { PodObservation, TimedAttachment } from './observation.ts';

/**
 * What a person wants to see of a pod and its networks.
 *
 * @param now Milliseconds since 1970.
 */
export function renderPod(observation: PodObservation, now: number): string {
  const { pod, state, events, networkStatus, addresses, interfaces, attachments } = observation;
  const { namespace, name } = pod.metadata;
  const parts = [headline(observation), section('Events:', describeEvents(events, now))];
  if (networkStatus !== undefined) {
    parts.push(section('Annotation k8s.v1.cni.cncf.io/network-status:', networkStatus.split('\n')));
  }
  if (addresses !== undefined) parts.push(section('ip -d address, inside the pod:', addresses.split('\n')));
  if (interfaces.length > 0) parts.push(section('', drawPod(`pod ${namespace}/${name}`, interfaces).split('\n')));
  if (state?.phase === 'running') parts.push(section('Time taken:', times(attachments, state.sandbox.milliseconds)));
  return parts.join('\n\n');
}

function headline({ pod }: PodObservation): string {
  const { namespace, name } = pod.metadata;
  const containers = listAt(pod, 'spec.containers').length;
  const ready = listAt(pod, 'status.containerStatuses').filter((status) => at(status, 'ready') === true).length;
  const ip = textAt(pod, 'status.podIP');
  const facts = [textAt(pod, 'status.phase'), `ready ${ready}/${containers}`, ...(ip === '' ? [] : [`IP ${ip}`])];
  return `Pod ${namespace}/${name}: ${facts.join(', ')}`;
}

function section(title: string, lines: readonly string[]): string {
  return [...(title === '' ? [] : [title]), ...lines.map((line) => `  ${line}`)].join('\n');
}

function times(attachments: readonly TimedAttachment[], milliseconds: number): string[] {
  const rows = attachments.map((each) => [each.ifName, each.network, each.plugins, formatTime(each.milliseconds)]);
  return [
    ...table(['Interface', 'Network', 'Plugin', 'Time'], rows),
    `The whole ADD, from the start of the CNI binary to its end: ${formatTime(milliseconds)}`,
  ];
}

const formatTime = (milliseconds: number): string =>
  milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
