import type { Plugin } from '../cni/plugin.ts';
import { hostLocal } from './host-local.ts';

/** Every plugin that runs in this process. */
export const builtinPlugins: readonly Plugin[] = [hostLocal];
