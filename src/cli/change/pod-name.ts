/**
 * The pod that a command is about.
 *
 * @param text A name, or `namespace/name`.
 * @throws {Error} when it can be neither.
 */
export function podNamed(text: string, namespace: string): { readonly namespace: string; readonly name: string } {
  const [name = '', ns = namespace, ...more] = text.split('/').toReversed();
  if (more.length > 0 || name === '' || ns === '') throw new Error(`"${text}": expected a pod, NAME or NAMESPACE/NAME`);
  return { namespace: ns, name };
}
