import type { JsonObject } from '../../cni/json.ts';
import type { DrawnInterface } from '../../observe/follow.ts';
import { drawPod } from '../../playground/drawing.ts';
import type { Format } from '../options.ts';
import { type Column, renderTable } from '../output.ts';
import type { NeededDevices } from './devices.ts';
import type { ExplainedNetwork } from './network.ts';
import { isUnknown, type PlannedInterface } from './plan.ts';

/** One interface that a pod would get. */
export interface ExplainedInterface extends PlannedInterface {
  /** Undefined where it cannot be planned, or where the network is known on the pod's node only. */
  readonly explained: ExplainedNetwork | undefined;
}

export interface ExplainedPod {
  /** `namespace/name`. */
  readonly pod: string;
  readonly interfaces: readonly ExplainedInterface[];
  readonly devices: readonly NeededDevices[];
  readonly problems: readonly string[];
}

/** Every problem of a pod, those of one interface with its name. */
export function problemsOf({ interfaces, problems }: ExplainedPod): string[] {
  const own = interfaces.flatMap((each) => each.problems.map((text) => `${each.ifName || each.network}: ${text}`));
  return [...problems, ...own];
}

/** For programs. The fields are described in docs/commands.md. */
export function explainDocument(pods: readonly ExplainedPod[]): JsonObject {
  return {
    items: pods.map(({ pod, interfaces, devices, problems }) => ({
      pod,
      interfaces: interfaces.map((each) => ({
        interface: each.ifName,
        network: each.network,
        default: each.isDefault,
        source: isUnknown(each) ? undefined : each.ready?.planned.source,
        plugins: each.explained?.plugins,
        ipam: each.explained?.ipam,
        addresses: each.explained?.addresses,
        routes: each.explained?.routes,
        master: each.explained?.master,
        resource: each.ready?.resource,
        requested: requestedOf(each),
        cniArgs: each.ready?.planned.cniArgs,
        defaultRoute: each.ready?.planned.defaultRoute,
        problems: each.problems,
      })),
      devices:
        devices.length === 0
          ? undefined
          : devices.map(({ resource, networks, requested }) => ({ resource, networks: [...networks], requested })),
      problems,
    })),
  };
}

/**
 * Whose default route the pod has, for each family: the network's that asks for it, or else the default network's
 * (specification v1.3, section 4.1.2.1.9).
 */
function defaultRoute({ ready, isDefault }: ExplainedInterface, all: readonly ExplainedInterface[]): string {
  const own = ready?.planned.defaultRoute;
  if (own !== undefined) return own.length > 0 ? own.map((gateway) => `via ${gateway}`).join(', ') : 'via its gateways';
  if (!isDefault) return '';
  const asked = all.flatMap(({ ready: each }) => {
    const gateways = each?.planned.defaultRoute;
    return gateways === undefined ? [] : [gateways];
  });
  if (asked.length === 0) return 'as the network has it';
  // A network that names no gateway takes over the families that its addresses will have.
  if (asked.some((gateways) => gateways.length === 0)) return 'what the others leave';
  const families = new Set<string>(asked.flat().map((gateway) => (gateway.includes(':') ? 'IPv6' : 'IPv4')));
  return ['IPv4', 'IPv6']
    .filter((family) => !families.has(family))
    .map((family) => `${family}, as the network has it`)
    .join('');
}

/** What the pod asks for as runtimeConfig: the file about a device is asked for by nobody, and has another name each time. */
function requestedOf({ ready }: Pick<ExplainedInterface, 'ready'>): JsonObject | undefined {
  if (ready === undefined) return undefined;
  const { CNIDeviceInfoFile: _, ...requested } = ready.planned.runtimeConfig;
  return requested;
}

const requested = ({ ready }: ExplainedInterface): string =>
  Object.entries(requestedOf({ ready }) ?? {})
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');

const columnsOf = (all: readonly ExplainedInterface[]): readonly Column<ExplainedInterface>[] => [
  { title: 'INTERFACE', value: ({ ifName }) => ifName },
  { title: 'NETWORK', value: ({ network }) => network },
  { title: 'PLUGINS', value: (each) => (isUnknown(each) ? '<unknown>' : (each.explained?.plugins.join(',') ?? '')) },
  { title: 'IPAM', value: ({ explained }) => explained?.ipam ?? '' },
  { title: 'ADDRESSES', value: ({ explained }) => explained?.addresses.join(' ') ?? '' },
  { title: 'REQUESTED', value: requested },
  { title: 'DEFAULT ROUTE', value: (each) => defaultRoute(each, all) },
  { title: 'RESOURCE', value: ({ ready }) => ready?.resource ?? '', wide: true },
  { title: 'MASTER', value: ({ explained }) => explained?.master ?? '', wide: true },
  { title: 'ROUTES', value: ({ explained }) => explained?.routes.join(', ') ?? '', wide: true },
  { title: 'SOURCE', value: (each) => (isUnknown(each) ? '' : (each.ready?.planned.source ?? '')), wide: true },
];

/** For people: a drawing of each pod, a table of its interfaces, and all that is wrong. */
export function renderExplained(pods: readonly ExplainedPod[], format: Format): string {
  return pods.map((pod) => renderPod(pod, format)).join('\n');
}

function renderPod(explained: ExplainedPod, format: Format): string {
  const { pod, interfaces, devices } = explained;
  const problems = problemsOf(explained).map((text) => `PROBLEM  ${text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')}\n`);
  return [
    `${drawPod(`pod ${pod}`, interfaces.map(drawn))}\n\n`,
    renderTable(columnsOf(interfaces), interfaces, format),
    ...devices.map(
      ({ resource, networks, requested }) =>
        `\nDevices of ${resource}: ${networks.length} wanted, ${requested} requested.\n`,
    ),
    '\n',
    ...(problems.length > 0 ? problems : ['No problem was found.\n']),
  ].join('');
}

function drawn({ ifName, network, isDefault, ready, explained, problems }: ExplainedInterface): DrawnInterface {
  const ips = ready?.planned.runtimeConfig['ips'];
  const asked = Array.isArray(ips) ? ips.filter((ip) => typeof ip === 'string') : [];
  const facts = [
    ...(isDefault ? ['cluster network'] : []),
    ...(explained?.subnets ?? []),
    ...(explained?.routes ?? []),
  ];
  return {
    name: ifName,
    network: network === '' ? 'not found' : network,
    addresses: asked.length > 0 ? asked : (explained?.addresses ?? []),
    kind: explained?.kind ?? (ready === undefined ? 'impossible' : 'unknown'),
    hops: explained?.master === undefined ? [] : [explained.master],
    facts: facts.length > 0 ? [...new Set(facts)] : [problems.length > 0 ? 'see below' : ''],
    connected: ready !== undefined,
  };
}
