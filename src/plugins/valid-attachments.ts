import { z } from 'zod';
import type { PluginConfig } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';

export interface ValidAttachment {
  readonly containerId: string;
  readonly ifName: string;
}

const schema = z.object({
  'cni.dev/valid-attachments': z.array(z.object({ containerID: z.string().min(1), ifname: z.string().min(1) })),
});

/**
 * What GC keeps (specification 1.1.0, section "GC").
 *
 * @throws {CniError} 7 when the list is missing, since what is in no list is removed.
 */
export function readValidAttachments(config: PluginConfig): readonly ValidAttachment[] {
  const attachments = parsePluginConfig(schema, config)['cni.dev/valid-attachments'];
  return attachments.map(({ containerID, ifname }) => ({ containerId: containerID, ifName: ifname }));
}
