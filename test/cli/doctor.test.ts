import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { renderFindings } from '../../src/cli/doctor/finding.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { links } from '../../src/linux/link.ts';
import { supportedKinds } from '../../src/linux/link-kind-support.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { supportedTraffic, trafficModules } from '../../src/linux/traffic-control-support.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { type Ended, ended, run, start } from './plexus.ts';

const timeout = 60_000;

interface Node extends AsyncDisposable {
  readonly directory: string;
  readonly namespace: TestNamespace;
  write(name: string, content: JsonObject | string): Promise<void>;
  doctor(...args: readonly string[]): Promise<Ended>;
  /** Starts a daemon and waits until it is ready. */
  daemon(): Promise<AsyncDisposable>;
}

/** A node with the interface ens5, which a container runtime calls Plexus on: nothing is lacking but the daemon. */
async function soundNode(): Promise<Node> {
  const directory = await testDirectory();
  const namespace = await testNamespace();
  using netlink = Rtnetlink.open(namespace.namespace);
  await netlink.run(links.create({ name: 'ens5', kind: { type: 'bridge' } }));
  const at = (name: string): string => join(directory.path, name);
  const write = (name: string, content: JsonObject | string): Promise<void> =>
    writeFile(at(name), typeof content === 'string' ? content : JSON.stringify(content));
  for (const name of ['net.d', 'bin']) await mkdir(at(name));
  const own = { cniVersion: '1.0.0', name: 'plexus', type: 'plexus', clusterNetwork: 'main' };
  await write('net.d/00-plexus.conf', { ...own, spoolDir: at('state/spool') });
  await write('net.d/10-main.conflist', { cniVersion: '1.0.0', name: 'main', plugins: [{ type: 'external' }] });
  for (const name of ['bin/plexus', 'bin/external']) {
    await write(name, '#!/bin/sh\n');
    await chmod(at(name), 0o755);
  }
  await write('daemon.json', {
    socketDir: at('run'),
    stateDir: at('state'),
    cniConfigDir: at('net.d'),
    binDir: at('bin'),
    metricsPort: 0,
    nodeName: 'node-1',
  });
  const config = ['--config', at('daemon.json')];
  return {
    directory: directory.path,
    namespace,
    write,
    doctor: (...args) => run(['doctor', ...config, ...args], namespace.namespace),
    async daemon() {
      const child = start(['daemon', ...config, '--no-cluster'], namespace.namespace);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      child.stderr?.on('data', (piece: Buffer) => {
        if (piece.includes('"msg":"ready"')) resolve();
      });
      child.once('close', () => reject(new Error('the daemon ended')));
      await promise;
      return {
        async [Symbol.asyncDispose]() {
          const { promise: closed, resolve: close } = Promise.withResolvers<void>();
          child.once('close', () => close());
          child.kill('SIGTERM');
          await closed;
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await namespace[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** The lines of what is lacking, without the first column. */
const lacks = ({ stdout }: Ended): string[] =>
  stdout.split('\n').flatMap((line) => /^LACKS {2}(.*)$/.exec(line)?.[1] ?? []);

describe('plexus doctor', { timeout }, () => {
  test('looks at the networks that every pod gets, and at what they need', async () => {
    await using node = await soundNode();
    await node.write('net.d/20-storage.conflist', {
      cniVersion: '1.0.0',
      name: 'storage',
      plugins: [{ type: 'macvlan', master: 'ens9' }],
    });
    const runtime = { cniVersion: '1.0.0', name: 'plexus', type: 'plexus', clusterNetwork: 'main' };
    await node.write('net.d/00-plexus.conf', { ...runtime, defaultNetworks: ['storage', 'backup'] });
    const ended = await node.doctor('--no-cluster');
    assert.match(ended.stdout, /^ok +defaultNetworks\[0\] +storage, .*20-storage\.conflist$/m);
    const lacking = lacks(ended);
    const found = (pattern: RegExp) =>
      assert.ok(
        lacking.some((line) => pattern.test(line)),
        lacking.join('\n'),
      );
    found(/^defaultNetworks\[1\] +the network defaultNetworks\[1\], "backup", was not found; .*To do: install/);
    found(/ens9/);
  });

  test('finds the auxiliary chain, and the plugins that it lacks', async () => {
    await using node = await soundNode();
    const directory = join(node.directory, 'net.d/vendor-chain');
    await mkdir(directory);
    await node.write('net.d/vendor-chain/10-vendor.conf', { type: 'vendor' });
    const runtime = { cniVersion: '1.0.0', name: 'plexus', type: 'plexus', clusterNetwork: 'main' };
    await node.write('net.d/00-plexus.conf', { ...runtime, auxiliaryCNIChainName: 'vendor-chain' });
    const ended = await node.doctor('--no-cluster');
    assert.match(ended.stdout, new RegExp(`^ok +auxiliary chain +vendor-chain, .*${directory}$`, 'm'));
    assert.ok(
      lacks(ended).some((line) => /plugin .*vendor/.test(line)),
      ended.stdout,
    );
    await node.write('net.d/vendor-chain/10-vendor.conf', {});
    assert.ok(lacks(await node.doctor('--no-cluster')).some((line) => /^auxiliary chain .*10-vendor\.conf/.test(line)));
  });

  test('finds nothing where nothing is lacking, and changes nothing', async () => {
    await using node = await soundNode();
    await using _ = await node.daemon();
    const before = await readdir(node.directory, { recursive: true });
    const { status, stdout, stderr } = await node.doctor('--no-cluster');
    assert.equal(status, 0, stdout + stderr);
    assert.deepEqual(stdout.split('\n'), [
      'ok     user             root',
      `ok     configuration    ${node.directory}/net.d/00-plexus.conf`,
      `ok     binary           ${node.directory}/bin/plexus`,
      `ok     default network  main, ${node.directory}/net.d/10-main.conflist`,
      `ok     plugin           external is executed, ${node.directory}/bin/external`,
      `ok     directory        ${node.directory}/run`,
      `ok     directory        ${node.directory}/state`,
      stdout.split('\n')[7],
      `ok     spool            nothing waits in ${node.directory}/state/spool`,
      `ok     daemon           it is ready, ${node.directory}/run/plexus.sock`,
      '',
      'Nothing is lacking.',
      '',
    ]);
    assert.match(stdout.split('\n')[7] ?? '', /^ok {5}directory +\/var\/lib\/cni\/networks/);
    assert.deepEqual(await readdir(node.directory, { recursive: true }), before);
  });

  test('tells what waits for the daemon, and where the shim leaves it in vain', async () => {
    await using node = await soundNode();
    const spool = join(node.directory, 'state/spool');
    await mkdir(spool, { recursive: true });
    await writeFile(join(spool, 'plexus:c1:eth0:0123456789abcdef'), '');
    await writeFile(join(spool, 'plexus:c2:eth0:0123456789abcdef.corrupt'), '');
    const own = { cniVersion: '1.0.0', name: 'plexus', type: 'plexus', clusterNetwork: 'main' };
    await node.write('net.d/00-plexus.conf', own);
    const found = lacks(await node.doctor('--no-cluster')).filter((line) => line.startsWith('spool'));
    const [place = '', waiting = '', aside = '', ...more] = found.map((line) => line.replace(/^spool +/, ''));
    assert.equal(
      place,
      `the runtime's configuration has the shim leave requests in /var/lib/plexus/spool, and the daemon looks in ${spool}. To do: write "spoolDir": "${spool}" there`,
    );
    assert.match(waiting, /^1 requests wait in \S+, the oldest since \S+Z\. To do: start the daemon; /);
    assert.match(aside, /^1 requests make no sense: \S+\.corrupt\. To do: release what they stand for, /);
    assert.deepEqual(more, []);
  });

  test('tells whether pods could start without a daemon, where that is wanted', async () => {
    await using node = await soundNode();
    const config = JSON.parse(await readFile(join(node.directory, 'daemon.json'), 'utf8'));
    await node.write('daemon.json', { ...config, whenDaemonIsDown: 'default-network-only' });
    const sound = await node.doctor('--no-cluster');
    assert.match(sound.stdout, /^ok +without daemon +pods start with the default network only, \S+10-main\.conflist$/m);
    await unlink(join(node.directory, 'bin/external'));
    const found = lacks(await node.doctor('--no-cluster')).filter((line) => line.startsWith('without'));
    assert.equal(found.length, 1);
    assert.match(found[0] ?? '', /"default-network-only" cannot be honoured: plugin "external" has no binary in /);
  });

  test('tells what networks of manifests need: kinds, masters, plugins', async () => {
    await using node = await soundNode();
    const config = (rest: JsonObject): string => JSON.stringify({ cniVersion: '1.0.0', ...rest });
    const objects = [
      network('there', config({ type: 'ptp', ipam: { type: 'static' } })),
      network('gone', config({ type: 'macvlan', master: 'ens9', ipam: { type: 'nosuch' } })),
      network('gone-too', config({ type: 'macvlan', master: 'ens9' })),
      network('inside', config({ type: 'macvlan', master: 'net1', linkInContainer: true })),
      network('device', config({ type: 'host-device', device: 'ens7' })),
      network('l2', config({ type: 'ipvlan', master: 'ens5' })),
      network('broken', '{"type":}'),
      network('empty', ''),
      pod('ignored'),
    ];
    await node.write('manifests.yaml', objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    const found = await node.doctor('-f', `${node.directory}/manifests.yaml`);
    assert.equal(found.status, 1);
    const supported = await supportedKinds(['ipvlan', 'macvlan', 'veth']);
    const kernel = lacks(found).filter((line) => line.startsWith('kernel'));
    assert.equal(kernel.length, 3 - supported.size, found.stdout);
    const others = lacks(found).filter((line) => !line.startsWith('kernel'));
    assert.deepEqual(others, [
      'network          NetworkAttachmentDefinition default/broken, spec.config: line 1, column 9: expected a value, found }, near: {"type":}. To do: correct it: no pod can be attached to it',
      'network          NetworkAttachmentDefinition default/empty, spec.config is empty, and /etc/cni/multus/net.d has none named "empty". To do: correct it: no pod can be attached to it',
      `plugin           default/gone: nosuch is not built in, and failed to find plugin "nosuch" in path [${node.directory}/bin]. To do: install it there, or correct the type in the configuration`,
      'interface        default/gone and default/gone-too: master "ens9" not found; this node has ens5. To do: correct the name in the configuration, or set the interface up',
      'interface        default/device: device "ens7" not found, unless a pod has it now; this node has ens5. To do: correct the name in the configuration, or set the interface up',
      `daemon           none answers at ${node.directory}/run/plexus.sock: connect ENOENT ${node.directory}/run/plexus.sock. To do: start the daemon, or give the directory that it has: --socket-dir; its log says why it ended`,
    ]);
    assert.match(found.stdout, /^ok +interface +ens5 is there$/m);
    assert.match(found.stdout, /^Of \d+ things that were looked at, \d+ are lacking\.$/m);
  });

  test('tells what limits of traffic need of the kernel', async () => {
    await using node = await soundNode();
    const plugins = [{ type: 'ptp', ipam: { type: 'static' } }, { type: 'bandwidth' }];
    const limited = network('limited', JSON.stringify({ cniVersion: '1.0.0', name: 'limited', plugins }));
    await node.write('manifests.yaml', JSON.stringify(limited));
    const found = await node.doctor('-f', `${node.directory}/manifests.yaml`);
    const [kinds, traffic] = [await supportedKinds(['ifb']), await supportedTraffic()];
    const said = found.stdout.split('\n').filter((line) => /ifb|limit traffic/.test(line));
    assert.deepEqual(
      said.map((line) => line.startsWith('ok')),
      [kinds.size === 1, traffic.size === trafficModules.length],
      found.stdout,
    );
  });

  test('takes the networks from the cluster', async () => {
    await using node = await soundNode();
    const objects = [network('a', '{"type":"macvlan","master":"ens9"}'), pod('p')];
    await using api = await startApi({ objects });
    await node.write('kubeconfig', api.kubeconfig());
    // The server is in the machine's namespace, and so must the doctor be to reach it.
    const found = await run([
      'doctor',
      '--config',
      `${node.directory}/daemon.json`,
      '--kubeconfig',
      `${node.directory}/kubeconfig`,
    ]);
    assert.match(found.stdout, /^ok +Kubernetes API +kubeconfig .*\/kubeconfig; 1 pods on node node-1$/m);
    assert.match(found.stdout, /^LACKS +interface +default\/a: master "ens9" not found; this node has /m);
    await api.close();
    const without = await run([
      'doctor',
      '--config',
      `${node.directory}/daemon.json`,
      '--kubeconfig',
      `${node.directory}/kubeconfig`,
    ]);
    assert.match(without.stdout, /^LACKS +Kubernetes API +.*ECONNREFUSED/m);
    await api.start(api.port);
  });

  test('tells what the daemon says', async () => {
    await using node = await soundNode();
    await node.write('bin/external', '#!/bin/sh\necho \'{"code":50,"msg":"not yet"}\'; exit 1\n');
    await node.write('net.d/10-main.conflist', { cniVersion: '1.1.0', name: 'main', plugins: [{ type: 'external' }] });
    await using _ = await node.daemon();
    assert.deepEqual(lacks(await node.doctor('--no-cluster')), [
      'daemon           it answers with code 50: plugin type="external" name="main" failed (status): not yet. To do: see its log',
    ]);
  });

  test('asks for what masquerading and port mappings are done with', async () => {
    await using node = await soundNode();
    const config = (more: JsonObject): string =>
      JSON.stringify({ cniVersion: '1.0.0', type: 'ptp', ipMasq: true, ...more });
    const objects = [
      network('either', config({})),
      network('new', config({ ipMasqBackend: 'nftables' })),
      network('old', config({ ipMasqBackend: 'iptables' })),
      network('none', config({ ipMasq: false })),
      ...['', 'nftables', 'iptables', 'ipfw'].map((backend) =>
        network(`ports-${backend || 'any'}`, config({ type: 'portmap', ipMasq: false, ...(backend && { backend }) })),
      ),
    ];
    await node.write('manifests.yaml', objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    // Looked at before those of the machine.
    const programs = { nft: 'echo \'{"nftables":[]}\'', iptables: 'echo no such table >&2; exit 3' };
    for (const [name, script] of Object.entries(programs)) {
      await node.write(`bin/${name}`, `#!/bin/sh\n${script}\n`);
      await chmod(`${node.directory}/bin/${name}`, 0o755);
    }
    const args = ['doctor', '--config', `${node.directory}/daemon.json`, '-f', `${node.directory}/manifests.yaml`];
    const PATH = `${node.directory}/bin:${process.env['PATH']}`;
    const { stdout } = await ended(start(args, node.namespace.namespace, { PATH }));
    const lines = stdout.split('\n').filter((line) => line.includes('masquerading'));
    assert.deepEqual(lines.slice(0, 2), [
      'ok     masquerading     default/either: by nftables',
      'ok     masquerading     default/new: by nftables',
    ]);
    assert.match(
      lines[2] ?? '',
      /^LACKS {2}masquerading +default\/old: ipMasq is set, and iptables.*no such table.*\. To do: install iptables, and a kernel that has it$/,
    );
    assert.equal(lines.length, 3);
    const mappings = stdout.split('\n').filter((line) => line.includes('port mappings'));
    assert.deepEqual(
      mappings.map((line) => line.replaceAll(/ +/g, ' ')),
      [
        'ok port mappings default/ports-any: by nftables',
        'ok port mappings default/ports-nftables: by nftables',
        'LACKS port mappings default/ports-iptables: iptables: no such table. To do: install iptables, and a kernel that has it',
        'LACKS port mappings default/ports-ipfw: no backend "ipfw". To do: correct the configuration',
      ],
    );
  });

  test('asks for what firewalls are made with', async () => {
    await using node = await soundNode();
    const config = (backend: string): string =>
      JSON.stringify({ cniVersion: '1.0.0', plugins: [{ type: 'ptp' }, { type: 'firewall', backend }] });
    const objects = ['', 'nftables', 'iptables', 'firewalld', 'ipfw'].map((backend) =>
      network(`by-${backend || 'any'}`, config(backend)),
    );
    await node.write('manifests.yaml', objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    const programs = { nft: 'echo \'{"nftables":[]}\'', iptables: 'echo no such table >&2; exit 3' };
    for (const [name, script] of Object.entries(programs)) {
      await node.write(`bin/${name}`, `#!/bin/sh\n${script}\n`);
      await chmod(`${node.directory}/bin/${name}`, 0o755);
    }
    const args = ['doctor', '--config', `${node.directory}/daemon.json`, '-f', `${node.directory}/manifests.yaml`];
    const env = { PATH: `${node.directory}/bin:${process.env['PATH']}`, DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/nowhere' };
    const { stdout } = await ended(start(args, node.namespace.namespace, env));
    const lines = stdout.split('\n').flatMap((line) => line.match(/^(\w+ +firewall +default.*)/)?.[1] ?? []);
    assert.deepEqual(
      lines.map((line) => line.replaceAll(/ +/g, ' ')),
      [
        'ok firewall default/by-any: by nftables',
        'ok firewall default/by-nftables: by nftables',
        'LACKS firewall default/by-iptables: iptables: no such table. To do: install iptables, and a kernel that has it',
        'LACKS firewall default/by-firewalld: firewalld is not on the system bus, or dbus-send is missing. To do: install firewalld, and a kernel that has it',
        'LACKS firewall default/by-ipfw: no backend "ipfw". To do: correct the configuration',
      ],
    );
  });

  const broken: readonly [string, (node: Node) => Promise<void>, RegExp][] = [
    [
      'another configuration comes first',
      (node) => node.write('net.d/00-main.conf', { name: 'x', type: 'y' }),
      /^configuration +00-main\.conf comes before 00-plexus\.conf in .*net\.d\. To do: rename/,
    ],
    [
      'no configuration calls Plexus',
      (node) => node.write('net.d/00-plexus.conf', { name: 'x', type: 'y' }),
      /^configuration +no file of .*net\.d has a plugin of type plexus, multus, multus-shim: .*To do: write 00-plexus\.conf there/,
    ],
    [
      'clusterNetwork is missing',
      (node) => node.write('net.d/00-plexus.conf', { name: 'x', type: 'multus' }),
      /^configuration +.*00-plexus\.conf: clusterNetwork: expected the name or the file of the default network; or "delegates", .*\. To do: set it/,
    ],
    [
      'the binary of that type is missing',
      (node) => node.write('net.d/00-plexus.conf', { name: 'x', type: 'multus', clusterNetwork: 'main' }),
      /^binary +failed to find plugin "multus" in path .*\. To do: copy build\/plexus there, as multus$/,
    ],
    [
      'the default network is missing',
      (node) => node.write('net.d/10-main.conflist', { name: 'other', plugins: [{ type: 'external' }] }),
      /^default network +the default network, clusterNetwork "main", was not found; looked for .*To do: install/,
    ],
    [
      'a plugin cannot be executed',
      (node) => chmod(join(node.directory, 'bin/external'), 0o644),
      /^plugin +main: external is not built in, and EACCES: .*bin\/external/,
    ],
    [
      'a configuration is broken',
      (node) => node.write('net.d/00-a.conf', 'x'),
      /^configuration +.*00-a\.conf: line 1, column 1: .*To do: correct or remove it$/,
    ],
  ];
  for (const [name, breakIt, line] of broken) {
    test(`sees that ${name}`, async () => {
      await using node = await soundNode();
      await breakIt(node);
      const found = await node.doctor('--no-cluster');
      assert.equal(found.status, 1);
      assert.ok(
        lacks(found).some((each) => line.test(each)),
        found.stdout,
      );
    });
  }
});

test('no message of others draws lines of its own', () => {
  const text = renderFindings([{ isFine: false, subject: 'x', text: 'a\nok  b\u001b[2J\u202ec', remedy: 'd\r\ne' }]);
  assert.equal(text, 'LACKS  x  a ok  b [2J c. To do: d e\n\nOf 1 things that were looked at, 1 are lacking.\n');
});
