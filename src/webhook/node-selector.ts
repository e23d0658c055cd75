import type { NetworkAttachmentDefinition } from '../kubernetes/schemas.ts';

/** The annotation of a definition whose network is on some nodes only; network-resources-injector's. */
export const nodeSelectorAnnotation = 'k8s.v1.cni.cncf.io/nodeSelector';

/** A label's name, with or without a prefix, and its value (apimachinery: validation.IsQualifiedName, IsValidLabelValue). */
const labelName = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[a-z0-9]([-\w.]{0,61}[a-z0-9])?$/i;
const labelValue = /^([a-z0-9]([-\w.]{0,61}[a-z0-9])?)?$/i;

/**
 * The labels that a node must have for a definition's network: `name=value`, or `name` for an empty value; several are
 * separated by commas.
 *
 * @returns undefined where the annotation is no such text.
 */
export function nodeSelectorOf(definition: NetworkAttachmentDefinition): ReadonlyMap<string, string> | undefined {
  const text = definition.metadata.annotations[nodeSelectorAnnotation] ?? '';
  if (text.trim() === '') return new Map();
  const labels = text.split(',').map((label) => {
    const [name = '', value = '', ...more] = label.split('=').map((part) => part.trim());
    return more.length === 0 && labelName.test(name) && labelValue.test(value) ? ([name, value] as const) : undefined;
  });
  const known = labels.filter((label) => label !== undefined);
  return known.length === labels.length ? new Map(known) : undefined;
}

/** What is wrong with the annotation; undefined for nothing. */
export function nodeSelectorProblem(definition: NetworkAttachmentDefinition): string | undefined {
  if (nodeSelectorOf(definition) !== undefined) return undefined;
  const { namespace, name, annotations } = definition.metadata;
  const found = JSON.stringify((annotations[nodeSelectorAnnotation] ?? '').slice(0, 80));
  return `NetworkAttachmentDefinition ${namespace}/${name}, annotation ${nodeSelectorAnnotation}: expected a label of nodes, name=value, or several with commas between them, found ${found}`;
}
