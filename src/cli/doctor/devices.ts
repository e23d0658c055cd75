import { stat } from 'node:fs/promises';
import { podResourcesSocket } from '../../kubelet/pod-devices.ts';
import { type Finding, fine, lacking, needers } from './finding.ts';
import type { Definition } from './networks.ts';

/** Whether kubelet can be asked for the devices of pods, where a network needs that. */
export async function checkDevices(definitions: readonly Definition[], kubeletDir: string): Promise<Finding[]> {
  const needing = definitions.filter(({ resource }) => resource !== undefined);
  if (needing.length === 0) return [];
  const who = needers(needing.map(({ namespace, name, resource }) => `${namespace}/${name} (${resource})`));
  const socket = podResourcesSocket(kubeletDir);
  const isThere = await stat(socket).then(
    (about) => about.isSocket(),
    () => false,
  );
  if (isThere) return [fine('devices', `kubelet tells them by ${socket}, for ${who}`)];
  const remedy = 'see that kubelet runs, and that its --root-dir is mounted here and is kubeletDir of the daemon';
  return [
    lacking(
      'devices',
      `${socket}, by which kubelet tells the devices of pods, is not there; needed for ${who}`,
      remedy,
    ),
  ];
}
