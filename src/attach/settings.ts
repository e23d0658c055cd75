import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { parseWith } from '../cni/schema.ts';
import { isNetworkName } from '../cni/validate.ts';
import { isCniVersion } from '../cni/version.ts';
import { defaultKubeletDir } from '../kubelet/pod-devices.ts';

const absolutePath = z.string('expected a path').startsWith('/', 'expected an absolute path');

/**
 * What the administrator set: the configuration that the runtime sends with each call, overlaid by the daemon's own.
 * The keys are those of Multus.
 */
export const settingsSchema = z
  .looseObject({
    cniVersion: z
      .string()
      .refine(isCniVersion, { error: 'expected a cniVersion from 0.1.0 to 1.1.0' })
      .default('0.1.0'),
    name: z.string().default('plexus'),
    /**
     * The network that every pod gets as its first: a NetworkAttachmentDefinition in `multusNamespace`, the name of a
     * configuration in `confDir` or `cniConfigDir`, a directory (its first configuration), or a file; looked for in that
     * order.
     */
    clusterNetwork: z.string({ error: 'expected the name or the file of the default network' }).optional(),
    /** Networks that pods outside of `systemNamespaces` get next; each is looked for as `clusterNetwork` is. */
    defaultNetworks: z.array(z.string().min(1)).default([]),
    /** Namespaces whose pods go without `defaultNetworks`. */
    systemNamespaces: z.array(z.string()).default(['kube-system']),
    /** Instead of `clusterNetwork`: the configurations of networks that every pod gets, the first as its default network. */
    delegates: z
      .array(z.custom<JsonObject>(isJsonObject, { error: 'expected the configuration of a network' }))
      .default([]),
    /** Whether a pod may use networks of its own and of global namespaces only. */
    namespaceIsolation: z.boolean().default(false),
    /** Names of namespaces, separated by commas; `default` is global in any case. */
    globalNamespaces: z.string().default('default'),
    /** A file that the default network makes when it can be used. */
    readinessindicatorfile: z.string({ error: 'expected the path of a file' }).optional(),
    /** Where a NetworkAttachmentDefinition with an empty spec.config finds its configuration. */
    confDir: z.string().default('/etc/cni/multus/net.d'),
    cniConfigDir: z.string().default('/etc/cni/net.d'),
    /** Looked through for executed plugins before CNI_PATH. */
    binDir: z.string().default('/opt/cni/bin'),
    /** Kubelet's --root-dir, where it is asked which devices it gave to a pod. */
    kubeletDir: absolutePath.default(defaultKubeletDir),
    /** Where device plugins, Plexus and network plugins tell each other about devices. */
    deviceInfoDir: absolutePath.default('/var/run/k8s.cni.cncf.io/devinfo'),
    multusNamespace: z.string().default('kube-system'),
    /** A chain of plugins that every pod goes through last of all; undefined or empty: none. */
    auxiliaryCNIChainName: z
      .string('expected the name of a directory')
      .refine((name) => name === '' || isNetworkName(name), {
        error: 'expected the name of a directory, without a slash',
      })
      .optional(),
  })
  .refine(({ clusterNetwork, delegates }) => clusterNetwork || delegates.length > 0, {
    path: ['clusterNetwork'],
    error:
      'expected the name or the file of the default network; or "delegates", a list that begins with its configuration',
  });

export type Settings = Readonly<z.infer<typeof settingsSchema>>;

/**
 * @param source What `json` is, for error messages.
 * @throws {CniError} 7 naming each wrong key.
 */
export function parseSettings(json: JsonObject, source: string): Settings {
  return parseWith(settingsSchema, json, source);
}
