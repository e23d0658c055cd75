import type { JsonObject } from './json.ts';

/** An interface that a plugin made or took (specification 1.1.0, section "ADD Success"). */
export interface ResultInterface {
  readonly name: string;
  /** Not always a MAC: aws-cni puts a route table's number here. Never parsed, always passed on. */
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** Path of the sandbox's namespace; absent for an interface of the host. */
  readonly sandbox?: string | undefined;
  readonly socketPath?: string | undefined;
  readonly pciID?: string | undefined;
}

export interface ResultIP {
  /** `address/length`. */
  readonly address: string;
  readonly gateway?: string | undefined;
  /** Index into {@link Result.interfaces}. */
  readonly interface?: number | undefined;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string | undefined;
  readonly mtu?: number | undefined;
  readonly advmss?: number | undefined;
  readonly priority?: number | undefined;
  readonly table?: number | undefined;
  readonly scope?: number | undefined;
}

export interface ResultDNS {
  readonly nameservers?: readonly string[] | undefined;
  readonly domain?: string | undefined;
  readonly search?: readonly string[] | undefined;
  readonly options?: readonly string[] | undefined;
}

/**
 * What an ADD made, in the shape of the newest specification. Plugins speak this only; older shapes exist at the border
 * (see convert.ts). Keys that no specification names are kept in `extra` and written back.
 */
export interface Result {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIP[];
  readonly routes: readonly ResultRoute[];
  readonly dns: ResultDNS;
  readonly extra?: JsonObject | undefined;
}

export const emptyResult: Result = { interfaces: [], ips: [], routes: [], dns: {} };
