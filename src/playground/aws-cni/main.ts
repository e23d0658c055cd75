import { text } from 'node:stream/consumers';
import { answerPlugin, statedVersion } from '../../cni/command.ts';
import { renderError, toCniError } from '../../cni/error.ts';
import { Runner } from '../../cni/runner.ts';
import { isOwnNamespace } from '../../linux/namespace.ts';
import { hostLocal } from '../../plugins/host-local.ts';
import { podAddresses } from '../vpc.ts';
import { awsCni } from './plugin.ts';

/*
 * The executable that the playground puts into its node's CNI directory as `aws-cni`: see install.ts.
 *
 *     node main.ts DIRECTORY      where the addresses that are given out are noted
 */

const [dataDir] = process.argv.slice(2);
if (dataDir === undefined) throw new Error('usage: main.ts DIRECTORY');

const plugin = awsCni({ addresses: podAddresses, dataDir });
const plugins = new Runner({ builtin: [hostLocal] });
const stdin = await text(process.stdin);
try {
  process.stdout.write(await answerPlugin({ env: process.env, stdin, plugin, plugins, isOwnNamespace }));
} catch (error) {
  process.stdout.write(renderError(toCniError(error), statedVersion(stdin)));
  process.exitCode = 1;
}
