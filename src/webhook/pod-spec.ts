import { z } from 'zod';

/** Quantities by the name of a resource. Kubernetes leaves an empty map out, or writes null. */
const quantities = z.record(z.string(), z.union([z.string(), z.number()])).nullish();

const container = z.looseObject({
  name: z.string().default(''),
  restartPolicy: z.string().nullish(),
  resources: z.looseObject({ requests: quantities, limits: quantities }).nullish(),
  env: z.array(z.looseObject({ name: z.string() })).nullish(),
  volumeMounts: z.array(z.looseObject({ name: z.string(), mountPath: z.string() })).nullish(),
});

/** A pod's spec, as much of it as may be changed; all else is kept as it came. */
export const podSpec = z.looseObject({
  containers: z.array(container).min(1),
  initContainers: z.array(container).nullish(),
  nodeSelector: z.record(z.string(), z.string()).nullish(),
  volumes: z.array(z.looseObject({ name: z.string() })).nullish(),
  hostNetwork: z.boolean().nullish(),
});

export type PodSpec = z.infer<typeof podSpec>;
export type Container = z.infer<typeof container>;
