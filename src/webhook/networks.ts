import { definitionProblems, type KnownPlugins } from '../attach/definition-problems.ts';
import { issuesOf } from '../kubernetes/issues.ts';
import { type NetworkAttachmentDefinition, networkSchema } from '../kubernetes/schemas.ts';
import { type AdmissionRequest, NotAReview, type Verdict } from './admission-review.ts';
import { nodeSelectorProblem } from './node-selector.ts';

/**
 * Refuses a NetworkAttachmentDefinition by which no pod could ever be attached, in the words of `plexus explain`. What was
 * there before and is not made worse is let be: a label or a finalizer on it is no reason to refuse anything.
 *
 * @throws {NotAReview} where the request has no such object.
 */
export function reviewNetwork(request: AdmissionRequest, known: KnownPlugins): Verdict {
  const { operation, object, oldObject } = request;
  if ((operation !== 'CREATE' && operation !== 'UPDATE') || request.subResource) return {};
  const definition = definitionOf(request, object);
  if (definition.metadata.deletionTimestamp !== undefined) return {};
  if (operation === 'UPDATE' && oldObject && isSame(definition, definitionOf(request, oldObject))) return {};
  const selector = nodeSelectorProblem(definition);
  const problems = [...definitionProblems(definition, known), ...(selector === undefined ? [] : [selector])];
  return problems.length === 0 ? {} : { refusal: problems.join('; ') };
}

function definitionOf(request: AdmissionRequest, object: AdmissionRequest['object']): NetworkAttachmentDefinition {
  const metadata = object?.['metadata'];
  const known = typeof metadata === 'object' && metadata !== null ? metadata : {};
  // A name that the server is to make is not there yet, nor is a UID; the namespace may be in the path alone.
  const defaults = { name: request.name || nameToCome(known), namespace: request.namespace, uid: request.uid };
  const own = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== '' && value !== null));
  const parsed = networkSchema.safeParse({ ...object, metadata: { ...defaults, ...own } });
  if (parsed.success) return parsed.data;
  throw new NotAReview(`expected a NetworkAttachmentDefinition: ${issuesOf(parsed.error)}`);
}

const nameToCome = (metadata: object): string =>
  'generateName' in metadata && typeof metadata.generateName === 'string' ? `${metadata.generateName}x` : 'unnamed';

/** Whether two versions of a definition say the same of the network. */
function isSame(now: NetworkAttachmentDefinition, before: NetworkAttachmentDefinition): boolean {
  const annotations = (definition: NetworkAttachmentDefinition) => JSON.stringify(relevant(definition));
  return now.spec.config === before.spec.config && annotations(now) === annotations(before);
}

const relevant = ({ metadata: { annotations } }: NetworkAttachmentDefinition) =>
  ['k8s.v1.cni.cncf.io/resourceName', 'k8s.v1.cni.cncf.io/nodeSelector'].map((key) => annotations[key] ?? '');
