import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { answerPlugin, type PluginRequest, statedVersion } from '../../src/cni/command.ts';
import { CniError, renderError, toCniError } from '../../src/cni/error.ts';
import type { Environment } from '../../src/cni/invocation.ts';
import { emptyResult } from '../../src/cni/result.ts';
import { Runner } from '../../src/cni/runner.ts';
import { type FakeBehaviour, type FakePlugin, fakePlugin } from './support.ts';

const env: Environment = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/plx-c1',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
};
const conf = { cniVersion: '1.1.0', name: 'n1', type: 'fake' };
const prevResult = { cniVersion: '1.1.0', ips: [] };

interface Call {
  readonly env?: Environment;
  readonly conf?: object | string;
  readonly plugin?: FakePlugin;
  readonly own?: PluginRequest['isOwnNamespace'];
}

function call({
  env: change = {},
  conf: config = conf,
  plugin = fakePlugin(),
  own = () => false,
}: Call): Promise<string> {
  return answerPlugin({
    env: { ...env, ...change },
    stdin: inputOf(config),
    plugin,
    plugins: new Runner({ builtin: [] }),
    isOwnNamespace: own,
  });
}

const inputOf = (config: object | string): string => (typeof config === 'string' ? config : JSON.stringify(config));

/** What is printed for a call that fails. */
async function failureOf(failing: Call): Promise<string> {
  const outcome = await call(failing).then(
    (stdout) => ({ stdout }),
    (error: unknown) => ({ error: renderError(toCniError(error), statedVersion(inputOf(failing.conf ?? conf))) }),
  );
  if ('stdout' in outcome) throw new Error(`expected an error, found ${outcome.stdout}`);
  return outcome.error;
}

describe('one plugin, called alone', () => {
  const result = { ...emptyResult, interfaces: [{ name: 'eth0' }], ips: [{ address: '10.0.0.2/24' }] };

  test('prints its result in the version asked for', async () => {
    const plugin = fakePlugin({ result });
    assert.equal(
      await call({ plugin, conf: { ...conf, cniVersion: '0.2.0' } }),
      '{\n    "cniVersion": "0.2.0",\n    "ip4": {\n        "ip": "10.0.0.2/24"\n    },\n    "dns": {}\n}',
    );
    assert.deepEqual(JSON.parse(await call({ plugin })), {
      cniVersion: '1.1.0',
      interfaces: result.interfaces,
      ips: result.ips,
    });
  });

  test('prints nothing for the other commands', async () => {
    const plugin = fakePlugin();
    const withResult = { ...conf, prevResult };
    assert.equal(await call({ plugin, env: { CNI_COMMAND: 'CHECK' }, conf: withResult }), '');
    assert.equal(await call({ plugin, env: { CNI_COMMAND: 'DEL', CNI_NETNS: '' } }), '');
    assert.equal(await call({ plugin, env: { CNI_COMMAND: 'STATUS' } }), '');
    assert.equal(await call({ plugin, env: { CNI_COMMAND: 'GC' } }), '');
    assert.deepEqual(plugin.calls, ['CHECK fake', 'DEL fake', 'STATUS fake', 'GC fake']);
  });

  const versions: readonly [string, string, string][] = [
    ['without a question', '', '1.1.0'],
    ['in the version of the question', '{"cniVersion":"0.4.0"}', '0.4.0'],
    ['in the newest for an unknown one', '{"cniVersion":"9.0.0"}', '1.1.0'],
  ];
  for (const [name, stdin, cniVersion] of versions) {
    test(`tells its versions ${name}`, async () => {
      const plugin = fakePlugin({ versions: ['0.4.0', '1.0.0'] });
      const stdout = await answerPlugin({
        env: { CNI_COMMAND: 'VERSION' },
        stdin,
        plugin,
        plugins: new Runner({ builtin: [] }),
        isOwnNamespace: () => false,
      });
      assert.equal(stdout, `{"cniVersion":"${cniVersion}","supportedVersions":["0.4.0","1.0.0"]}\n`);
    });
  }
});

describe('an error is an answer', () => {
  interface Case {
    readonly call: Call;
    readonly error: object;
    readonly behaviour?: FakeBehaviour;
    readonly calls?: readonly string[];
  }
  const cases: Readonly<Record<string, Case>> = {
    'an error of the plugin': {
      call: { conf: { ...conf, cniVersion: '0.4.0' } },
      behaviour: { fails: { ADD: new CniError(11, 'later', 'because') } },
      error: { cniVersion: '0.4.0', code: 11, msg: 'later', details: 'because' },
      calls: ['ADD fake'],
    },
    'any other error': {
      call: {},
      behaviour: { fails: { ADD: new TypeError('a bug') } },
      error: { cniVersion: '1.1.0', code: 999, msg: 'a bug' },
      calls: ['ADD fake'],
    },
    'a variable missing': {
      call: { env: { CNI_IFNAME: '' } },
      error: { cniVersion: '1.1.0', code: 4, msg: 'required env variables [CNI_IFNAME] missing' },
    },
    'malformed configuration': {
      call: { conf: '{' },
      error: {
        cniVersion: '1.1.0',
        code: 6,
        msg: 'network configuration on standard input: line 1, column 2: expected a key in double quotes, found the end of the text, near: {',
      },
    },
    'no network name': {
      call: { conf: { cniVersion: '0.3.1' } },
      error: { cniVersion: '0.3.1', code: 7, msg: 'missing network name' },
    },
    'an unknown version': {
      call: { conf: { ...conf, cniVersion: '9.0.0' } },
      behaviour: { versions: ['0.4.0', '1.0.0'] },
      error: {
        cniVersion: '1.1.0',
        code: 1,
        msg: 'incompatible CNI versions',
        details: 'config is "9.0.0", plugin supports ["0.4.0" "1.0.0"]',
      },
    },
    'something that is no version': {
      call: { conf: { ...conf, cniVersion: 'new' } },
      error: { cniVersion: '1.1.0', code: 6, msg: 'expected a CNI version such as 1.1.0, found "new"' },
    },
    'CHECK too early': {
      call: { env: { CNI_COMMAND: 'CHECK' }, conf: { ...conf, cniVersion: '0.3.1' } },
      error: {
        cniVersion: '0.3.1',
        code: 1,
        msg: 'config version does not allow CHECK',
        details: 'config is "0.3.1", CHECK exists from 0.4.0',
      },
    },
    'CHECK without prevResult': {
      call: { env: { CNI_COMMAND: 'CHECK' } },
      error: { cniVersion: '1.1.0', code: 7, msg: 'Required prevResult missing' },
    },
    'ADD in the own namespace': {
      call: { own: (path) => path === '/run/netns/plx-c1' },
      error: {
        cniVersion: '1.1.0',
        code: 8,
        msg: "plugin's netns and netns from CNI_NETNS should not be the same",
        details: 'CNI_NETNS is /run/netns/plx-c1; CNI_NETNS_OVERRIDE=1 allows it',
      },
    },
    'DEL in the own namespace': {
      call: { env: { CNI_COMMAND: 'DEL' }, own: async () => true },
      error: {
        cniVersion: '1.1.0',
        code: 8,
        msg: "plugin's netns and netns from CNI_NETNS should not be the same",
        details: 'CNI_NETNS is /run/netns/plx-c1; CNI_NETNS_OVERRIDE=1 allows it',
      },
    },
  };
  for (const [name, { call: request, behaviour, error, calls = [] }] of Object.entries(cases)) {
    test(name, async () => {
      const plugin = fakePlugin(behaviour);
      assert.deepEqual(JSON.parse(await failureOf({ ...request, plugin })), error);
      assert.deepEqual(plugin.calls, calls);
    });
  }

  test('is printed with 4 spaces of indentation', async () => {
    const stdout = await failureOf({ env: { CNI_COMMAND: 'NONE' } });
    assert.equal(stdout, '{\n    "cniVersion": "1.1.0",\n    "code": 4,\n    "msg": "unknown CNI_COMMAND: NONE"\n}');
  });
});

test('the own namespace is allowed to those who mean it, and not looked at where there is none', async () => {
  const plugin = fakePlugin();
  const own = (): boolean => true;
  await call({ plugin, own, env: { CNI_NETNS_OVERRIDE: '1' } });
  await call({ plugin, own, env: { CNI_COMMAND: 'DEL', CNI_NETNS: '' } });
  assert.deepEqual(plugin.calls, ['ADD fake', 'DEL fake']);
});
