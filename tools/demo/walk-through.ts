import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import type { StoredObject } from '../../src/playground/api/object.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { observePod } from '../../src/playground/observation.ts';
import { type Playground, startPlayground } from '../../src/playground/playground.ts';
import { renderPod } from '../../src/playground/report.ts';
import { run } from '../run.ts';
import { type Check, check, checkKubectl, checkPod, nodeName } from './expectations.ts';
import { repository } from './paths.ts';

const manifests = ['examples/ipvlan-conf-1.yaml', 'examples/sampleapp-1.yaml'];

/**
 * Does what an EKS user does, with the same manifests and kubectl, prints what is to be seen, and holds it against what is
 * promised.
 *
 * @returns Whether all of it was so.
 */
export async function walkThrough(): Promise<boolean> {
  await using playground = await startPlayground({
    nodeName,
    shim: join(repository, 'build/plexus'),
    plexus: [process.execPath, join(repository, 'bin/plexus')],
  });
  const before = await stateOf(playground);
  const pod = await apply(playground);
  const observation = await observePod(playground, pod);
  const get = await kubectl(playground, 'get', 'pods');
  const describe = await kubectl(playground, 'describe', 'pod', 'sampleapp-1');
  print(`$ kubectl get pods\n${get}`);
  print(renderPod(observation, Date.now()));

  print('\n$ kubectl delete pod sampleapp-1');
  print(await kubectl(playground, 'delete', 'pod', 'sampleapp-1'));
  await playground.kubelet.idle();
  const after = await stateOf(playground);
  const checks = [
    ...checkPod(observation),
    ...checkKubectl(get, describe),
    check('deleted: nothing of it is left, neither interfaces, addresses nor journal', after === before, after),
  ];
  print(renderChecks(checks));
  return checks.every(({ found }) => found === undefined);
}

async function apply(playground: Playground): Promise<StoredObject> {
  for (const file of manifests) {
    print(`$ kubectl apply -f ${file}`);
    print((await kubectl(playground, 'apply', '-f', join(repository, file))).trimEnd());
  }
  print('');
  const [pod] = playground.api.store.list(pods);
  if (pod === undefined) throw new Error('kubectl apply has made no pod');
  await playground.kubelet.idle();
  return pod;
}

async function kubectl({ kubeconfig, directory }: Playground, ...args: string[]): Promise<string> {
  // Its cache is the playground's too.
  const env = { KUBECONFIG: kubeconfig, HOME: directory };
  return (await run('kubectl', args, { env })).toString();
}

/** What a pod may leave on a node: interfaces, reserved addresses, entries of the journal. */
async function stateOf({ directory, node }: Playground): Promise<string> {
  using netlink = Rtnetlink.open(node.namespace);
  const [present] = await netlink.run(links.list());
  const kept = ['ipamd/aws-cni', 'var-lib-cni/networks/ipvlan-conf-1', 'state/journal'].map(async (name) => {
    const files = await readdir(join(directory, name)).catch(() => []);
    return files.filter((file) => file !== 'lock' && !file.startsWith('last_reserved_ip.'));
  });
  return [...present.map(({ name }) => name), ...(await Promise.all(kept)).flat()].join(' ');
}

function renderChecks(checks: readonly Check[]): string {
  const failed = checks.filter(({ found }) => found !== undefined);
  const lines = checks.map(({ promise, found }) =>
    found === undefined
      ? `  ✓ ${promise}`
      : `  ✗ ${promise}\n      found: ${found.trim().replaceAll('\n', '\n      ')}`,
  );
  const summary =
    failed.length === 0
      ? `All ${checks.length} promises of the walk-through are kept.`
      : `${failed.length} of ${checks.length} promises of the walk-through are not kept.`;
  return ['The walk-through promises:', ...lines, '', summary].join('\n');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
