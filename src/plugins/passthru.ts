import type { Plugin } from '../cni/plugin.ts';
import { emptyResult } from '../cni/result.ts';
import { cniVersions } from '../cni/version.ts';

/**
 * Does nothing, and says so in a valid result: a chain that has no interface of its own begins with it.
 *
 * Equal to Multus' plugin, but that the result of a plugin before it is passed on, where the original's is empty, and
 * that CHECK succeeds.
 */
export const passthru: Plugin = {
  type: 'passthru',
  versions: cniVersions,

  async add({ prevResult }) {
    return prevResult ?? emptyResult;
  },

  async delete() {},

  async check() {},
};
