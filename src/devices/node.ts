import { join } from 'node:path';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { defaultInterfaces } from './default-route.ts';

/** Interfaces of the default routes in the namespace that the daemon is in, which is the node's. */
export async function nodeDefaultInterfaces(): Promise<readonly string[]> {
  using netlink = Rtnetlink.open();
  return await defaultInterfaces(netlink);
}

/** The file in which what pods took with them is remembered. */
export const memoryFile = (stateDir: string): string => join(stateDir, 'devices.json');

/** Where device plugins have their sockets. */
export const pluginDirectory = (kubeletDir: string): string => join(kubeletDir, 'device-plugins');

/** Where kubelet takes their registrations. */
export const registrationSocket = (kubeletDir: string): string => join(pluginDirectory(kubeletDir), 'kubelet.sock');
