import { z } from 'zod';
import { findByName } from '../../attach/default-network.ts';
import { resourceNameAnnotation } from '../../attach/devices.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../../cni/config.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import { type Finding, fine, lacking, messageOf } from './finding.ts';

/** A network whose attachments this node may have to make. */
export interface UsedNetwork {
  /** As messages call it. */
  readonly name: string;
  readonly list: NetworkConfigList;
}

/** A NetworkAttachmentDefinition, of a cluster or of a manifest. */
export interface Definition {
  readonly namespace: string;
  readonly name: string;
  readonly config: string;
  /** The resource that it names. */
  readonly resource: string | undefined;
}

const manifest = z.object({
  kind: z.literal('NetworkAttachmentDefinition'),
  metadata: z.object({
    name: z.string(),
    namespace: z.string().default('default'),
    annotations: z.record(z.string(), z.string()).nullish(),
  }),
  spec: z.object({ config: z.string().default('') }).default({ config: '' }),
});

/** The definitions among the objects of manifests. */
export function definitionsIn(objects: readonly unknown[]): Definition[] {
  return objects.flatMap((object) => {
    const parsed = manifest.safeParse(object);
    if (!parsed.success) return [];
    const { metadata, spec } = parsed.data;
    const { name, namespace, annotations } = metadata;
    return [{ name, namespace, config: spec.config, resource: annotations?.[resourceNameAnnotation] || undefined }];
  });
}

export function definitionsOf(cluster: Cluster): Definition[] {
  return cluster.networks().map(({ metadata: { name, namespace, annotations }, spec }) => {
    return { name, namespace, config: spec.config, resource: annotations[resourceNameAnnotation] || undefined };
  });
}

/**
 * Reads the networks that definitions describe.
 *
 * @param confDir Where a definition without a configuration finds it.
 */
export async function readDefinitions(
  definitions: readonly Definition[],
  confDir: string,
): Promise<{ readonly networks: readonly UsedNetwork[]; readonly findings: readonly Finding[] }> {
  const networks: UsedNetwork[] = [];
  const findings: Finding[] = [];
  for (const { namespace, name, config } of definitions) {
    const source = `NetworkAttachmentDefinition ${namespace}/${name}, spec.config`;
    try {
      const found = config.trim() === '' ? await findByName(confDir, name) : { config, source };
      if (found === undefined) throw new Error(`${source} is empty, and ${confDir} has none named "${name}"`);
      networks.push({
        name: `${namespace}/${name}`,
        list: parseNetworkConfig(found.config, found.source, { defaultName: name }),
      });
    } catch (error) {
      findings.push(lacking('network', messageOf(error), 'correct it: no pod can be attached to it'));
    }
  }
  if (networks.length > 0)
    findings.unshift(
      fine('network', `${networks.length} of ${definitions.length} NetworkAttachmentDefinitions can be read`),
    );
  return { networks, findings };
}
