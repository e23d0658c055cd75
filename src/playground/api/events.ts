import type { JsonValue } from '../../cni/json.ts';
import { at, type KubernetesObject } from './object.ts';

/** The names that events.k8s.io/v1 has for the fields of a core/v1 Event. */
const renamed: ReadonlyArray<readonly [core: string, v1: string]> = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
  ['reportingComponent', 'reportingController'],
];

function rename(object: KubernetesObject, apiVersion: string, names: ReadonlyMap<string, string>): KubernetesObject {
  const { metadata, kind } = object;
  const entries = Object.entries(object).map(([key, value]): [string, JsonValue | undefined] => [
    names.get(key) ?? key,
    value,
  ]);
  return { ...Object.fromEntries(entries), apiVersion, kind, metadata };
}

const toV1 = new Map(renamed);
const toCore = new Map(renamed.map(([core, v1]) => [v1, core]));

/** A stored event as a reader of events.k8s.io/v1 wants it. */
export function eventToV1(object: KubernetesObject): KubernetesObject {
  return rename(object, 'events.k8s.io/v1', toV1);
}

/** An event of either form as it is stored: core/v1, with the times that kubectl sorts by. */
export function eventToCore(object: KubernetesObject): KubernetesObject {
  const core = object.apiVersion === 'v1' ? object : rename(object, 'v1', toCore);
  const time = core['eventTime'];
  if (typeof time !== 'string' || at(core, 'lastTimestamp') != null) return core;
  return { ...core, firstTimestamp: time, lastTimestamp: time };
}
