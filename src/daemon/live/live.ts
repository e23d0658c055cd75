import { type FollowerOptions, PodFollower } from './follower.ts';
import { RuntimeCall } from './runtime-call.ts';

/** What goes on while pods run. */
export interface Live {
  readonly follower: PodFollower;
  readonly runtimeCall: RuntimeCall;
}

/** @param stateDir What outlives a restart. */
export async function startLive(stateDir: string, options: Omit<FollowerOptions, 'runtimeCall'>): Promise<Live> {
  const runtimeCall = await RuntimeCall.open(stateDir);
  return { runtimeCall, follower: await PodFollower.start({ ...options, runtimeCall }) };
}
