import { text } from 'node:stream/consumers';
import { answerPlugin } from '../../cni/command.ts';
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

const { exitStatus, stdout, stderr } = await answerPlugin({
  env: process.env,
  stdin: await text(process.stdin),
  plugin: awsCni({ addresses: podAddresses, dataDir }),
  plugins: new Runner({ builtin: [hostLocal] }),
  isOwnNamespace,
});
process.stdout.write(stdout);
process.stderr.write(stderr);
process.exitCode = exitStatus;
