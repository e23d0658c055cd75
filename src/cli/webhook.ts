import { Command, InvalidArgumentError, Option } from 'commander';
import { parsePort } from './options.ts';

type FailurePolicy = 'Ignore' | 'Fail';

interface Options {
  readonly kubeconfig?: string;
  readonly namespace: string;
  readonly name: string;
  readonly url?: string;
  readonly port: number;
  readonly servicePort: number;
  readonly metricsPort: number;
  readonly address: string;
  readonly executedPlugins: readonly string[];
  readonly anyPlugin?: boolean;
  readonly multusNamespace: string;
  readonly excludeNamespaces: readonly string[];
  readonly podsFailurePolicy: FailurePolicy;
  readonly networksFailurePolicy: FailurePolicy;
  readonly downwardApi?: boolean;
  readonly certificateDays: number;
  readonly logLevel?: string;
}

const policies = ['Ignore', 'Fail'];

export function webhookCommand(): Command {
  return new Command('webhook')
    .description(
      'add to new pods the devices that their networks need, and refuse networks that cannot work; until SIGTERM',
    )
    .option(
      '--kubeconfig <file>',
      'how to reach the Kubernetes API; default: KUBECONFIG, or the service account of this pod',
    )
    .option('--namespace <name>', 'where its Secret and its Service are', process.env['POD_NAMESPACE'] ?? 'kube-system')
    .option('--name <name>', 'of its Secret, its Service and its configurations in the API server', 'plexus-webhook')
    .option(
      '--url <url>',
      'how the API server reaches it, https://HOST:PORT, where that is not by the Service',
      parseUrl,
    )
    .option('--port <port>', 'of HTTPS', parsePort, 8443)
    .option('--service-port <port>', 'of the Service', parsePort, 443)
    .option('--metrics-port <port>', 'of /healthz, /readyz and /metrics', parsePort, 9092)
    .option('--address <ip>', 'on which both ports are; :: for all of IPv6 and IPv4', '0.0.0.0')
    .option(
      '--executed-plugins <type...>',
      'plugins that nodes execute, as whereabouts; their networks are not refused',
      [],
    )
    .option('--any-plugin', 'refuse no network for the types of its plugins')
    .option(
      '--multus-namespace <name>',
      'where the network of the default-network annotation is looked for',
      'kube-system',
    )
    .option('--exclude-namespaces <name...>', 'whose pods are left alone, besides its own', ['kube-system'])
    .addOption(policy('--pods-failure-policy <policy>', 'new pods', 'Ignore'))
    .addOption(policy('--networks-failure-policy <policy>', 'changes of networks', 'Fail'))
    .option('--downward-api', 'show pods their labels, annotations and huge pages below /etc/podnetinfo')
    .option('--certificate-days <days>', 'that a certificate is good for', parseDays, 90)
    .option('--log-level <level>', 'debug, verbose, info, warn, error or panic; default: info')
    .action(run);
}

const policy = (flags: string, what: string, value: FailurePolicy): Option =>
  new Option(flags, `what becomes of ${what} while the webhook cannot be asked`).choices(policies).default(value);

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === 'https:' && /^\/?$/.test(url.pathname) && url.search === '' && url.hash === '')
    return url.origin;
  throw new InvalidArgumentError('expected https://HOST:PORT.');
}

function parseDays(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('expected a number of days, at least 1.');
}

async function run(options: Options): Promise<void> {
  const { logLevel, executedPlugins, certificateDays, kubeconfig, excludeNamespaces, anyPlugin, url } = options;
  const { parseWith } = await import('../cni/schema.ts');
  const { daemonSchema } = await import('../daemon/config.ts');
  const { createLog } = await import('../daemon/log.ts');
  const { builtinPlugins } = await import('../plugins/builtin.ts');
  const { startWebhook } = await import('../webhook/webhook.ts');
  const { accessTo } = await import('./explain/cluster.ts');

  const { log, settled } = await createLog(parseWith(daemonSchema, { logLevel }, 'the command line'));
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'ended by an error that nobody foresaw');
    process.exit(1);
  });
  const stop = new AbortController();
  const starting = startWebhook(
    {
      ...options,
      access: accessTo(kubeconfig),
      url,
      life: certificateDays * 86_400_000,
      excludedNamespaces: excludeNamespaces,
      downwardApi: options.downwardApi ?? false,
      known: {
        builtin: new Set(builtinPlugins.map(({ type }) => type)),
        executed: anyPlugin ? undefined : new Set(executedPlugins),
      },
      log,
    },
    stop.signal,
  );
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'ending: no more questions are taken');
      stop.abort();
      void starting
        .then((webhook) => webhook.close())
        .catch(() => {})
        .then(settled)
        .then(() => process.exit(0));
    });
  }
  await starting.catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
}
