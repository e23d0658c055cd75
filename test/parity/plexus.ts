import { createInterface } from 'node:readline';
import { z } from 'zod';
import { answerPlugin, statedVersion } from '../../src/cni/command.ts';
import { renderError, toCniError } from '../../src/cni/error.ts';
import { Runner } from '../../src/cni/runner.ts';
import { isOwnNamespace } from '../../src/linux/namespace.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { createHostDevice } from '../../src/plugins/host-device.ts';

/*
 * The built-in plugins as a process of one node: a call on each line of standard input, its answer on the same line of
 * standard output. Each call is answered as the plugin's executable would.
 */

const call = z.object({
  plugin: z.string(),
  env: z.record(z.string(), z.string()),
  stdin: z.string(),
  /** In the place of /sys; only host-device reads there. */
  sys: z.string().default(''),
});
const runner = new Runner({ builtin: builtinPlugins });

for await (const line of createInterface(process.stdin)) {
  const { plugin: type, env, stdin, sys } = call.parse(JSON.parse(line));
  process.stdout.write(`${JSON.stringify(await answer(type, env, stdin, sys))}\n`);
}

async function answer(type: string, env: Readonly<Record<string, string>>, stdin: string, sys: string) {
  try {
    const plugins = sys === '' ? builtinPlugins : [createHostDevice(sys)];
    const plugin = plugins.find((each) => each.type === type);
    if (plugin === undefined) throw new Error(`plugin "${type}" is not built in`);
    return { failed: false, stdout: await answerPlugin({ env, stdin, plugin, plugins: runner, isOwnNamespace }) };
  } catch (thrown) {
    return { failed: true, stdout: renderError(toCniError(thrown), statedVersion(stdin)) };
  }
}
