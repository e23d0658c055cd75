/* The network that the playground's node is in: what the walk-through's node has, so that both read alike. */

/** Largest frame inside a VPC. */
export const jumboMtu = 9001;

export const subnet = '10.20.128.0/20';

/** The node's own address, on its first interface. */
export const nodeAddress = '10.20.136.182/20';

/** The VPC's router, which answers on the subnet's first address. */
export const routerAddress = '10.20.128.1/20';

/** The node's interfaces. The first has its address; the others are there to be masters, and carry the tag no_manage, so to say. */
export const nodeInterfaces = ['ens5', 'ens6', 'ens7'] as const;

/** Addresses on the node's first interface that are for pods. */
export const podAddresses = { subnet, rangeStart: '10.20.139.27', rangeEnd: '10.20.139.254' } as const;
