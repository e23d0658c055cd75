import type { Plugin } from '../cni/plugin.ts';
import { hostLocal } from './host-local.ts';
import { macvlan } from './macvlan.ts';

/** Every plugin that runs in this process. */
export const builtinPlugins: readonly Plugin[] = [macvlan, hostLocal];
