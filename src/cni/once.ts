import type { PluginConfig } from './plugin.ts';

/**
 * A function of a configuration that does its work once for each: the pods of a network share one, unless they ask for
 * something, and its plugins look at it several times for each pod.
 *
 * @param read Throws again each time where it throws. What it returns is frozen, for all to share.
 */
export function oncePerConfig<T>(read: (config: PluginConfig) => T): (config: PluginConfig) => T {
  const known = new WeakMap<PluginConfig, { readonly value: T }>();
  return (config) => {
    const before = known.get(config);
    if (before !== undefined) return before.value;
    const value = freeze(read(config));
    known.set(config, { value });
    return value;
  };
}

/** Freezes objects and lists, and what is in them; not bytes, which nothing freezes. */
export function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const each of Object.values(value)) freeze(each);
  return value;
}
