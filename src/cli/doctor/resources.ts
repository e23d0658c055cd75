import { access, stat } from 'node:fs/promises';
import type { DaemonConfig } from '../../daemon/config.ts';
import { registrationSocket } from '../../devices/node.ts';
import { lookAtDevices } from '../devices/look.ts';
import { type Finding, fine, lacking } from './finding.ts';

type Config = Pick<DaemonConfig, 'devicePluginConfig' | 'devicePluginPrefix' | 'stateDir' | 'kubeletDir' | 'overlay'>;

/** Whether the daemon can offer the node's devices as resources, where it is to. */
export async function checkResources(config: Config): Promise<Finding[]> {
  const { devicePluginConfig: file, kubeletDir, overlay } = config;
  const isThere = await access(file).then(
    () => true,
    () => false,
  );
  if (!isThere && !('devicePluginConfig' in overlay)) return [];
  const { candidates, problems } = await lookAtDevices(config);
  const counts = Map.groupBy(candidates, ({ taken }) => taken?.resource.fullName);
  const offered = [...counts].flatMap(([name, of]) => (name === undefined ? [] : [`${name}: ${of.length}`]));
  const what = offered.length === 0 ? 'no device of this node is a resource' : offered.join(', ');
  const socket = registrationSocket(kubeletDir);
  const hasKubelet = await stat(socket).then(
    (about) => about.isSocket(),
    () => false,
  );
  const remedy = 'see that kubelet runs, and that its --root-dir is mounted here and is kubeletDir of the daemon';
  return [
    ...problems.map((problem) => lacking('resources', problem, `correct it in ${file}; plexus devices tells more`)),
    hasKubelet
      ? fine('resources', `${what}; plexus devices tells more`)
      : lacking('resources', `${socket}, where kubelet takes them, is not there; there would be: ${what}`, remedy),
  ];
}
