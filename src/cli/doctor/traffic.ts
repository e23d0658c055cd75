import { supportedTraffic, trafficModules } from '../../linux/traffic-control-support.ts';
import { type Finding, fine, lacking, needers } from './finding.ts';
import type { PluginUse } from './plugins.ts';

/** Whether the kernel can limit what pods receive and send, where networks use bandwidth. */
export async function checkTraffic(use: PluginUse, builtin: ReadonlySet<string>): Promise<Finding[]> {
  const users = use.get('bandwidth');
  if (users === undefined || !builtin.has('bandwidth')) return [];
  const supported = await supportedTraffic();
  const missing = trafficModules.filter((name) => !supported.has(name));
  if (missing.length === 0) return [fine('kernel', 'it can limit traffic')];
  const names = missing.join(', ');
  const remedy = `load or install the modules on the node: modprobe -a ${missing.join(' ').replaceAll(' and ', ' ')}`;
  return [lacking('kernel', `${needers(users)}: it cannot limit traffic without ${names}`, remedy)];
}
