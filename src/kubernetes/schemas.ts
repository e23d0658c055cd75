import { z } from 'zod';

/** Kubernetes leaves empty maps out, or writes null. */
const textMap = z
  .record(z.string(), z.string())
  .nullish()
  .transform((map) => map ?? {});

const metadataSchema = z.object({
  name: z.string().min(1),
  namespace: z.string().min(1),
  uid: z.string().min(1),
  resourceVersion: z.string().optional(),
  /** Set once it is being deleted. */
  deletionTimestamp: z.string().optional(),
  annotations: textMap,
});

/** core/v1 Pod, as much of it as attaching networks needs; nothing else is asked for, or kept where it comes. */
export const podSchema = z.object({ metadata: metadataSchema });

export type Pod = z.infer<typeof podSchema>;

/** k8s.cni.cncf.io/v1 NetworkAttachmentDefinition. `spec.config` is the administrator's bytes, not parsed here. */
export const networkSchema = z.object({
  metadata: metadataSchema,
  spec: z
    .object({ config: z.string().default('') })
    .nullish()
    .transform((spec) => spec ?? { config: '' }),
});

export type NetworkAttachmentDefinition = z.infer<typeof networkSchema>;

/** Of any list: its items unparsed, for one bad object must not hide the others. */
export const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().default(''), continue: z.string().optional() }),
  items: z
    .array(z.unknown())
    .nullish()
    .transform((items) => items ?? []),
});

/** One line of a watch: meta/v1 WatchEvent. */
export const watchEventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['ADDED', 'MODIFIED', 'DELETED']), object: z.unknown() }),
  z.object({ type: z.literal('BOOKMARK'), object: z.unknown() }),
  z.object({ type: z.literal('ERROR'), object: z.unknown() }),
]);

/** What every watched object has, whatever else is wrong with it. */
export const identitySchema = z.object({
  metadata: z.object({
    name: z.string().default(''),
    namespace: z.string().default(''),
    resourceVersion: z.string().min(1),
  }),
});

/** Of a whole pod. */
export const hostNetworkSchema = z.object({ spec: z.object({ hostNetwork: z.boolean().nullish() }).nullish() });
