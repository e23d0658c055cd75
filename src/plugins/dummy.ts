import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { Container, checkInterface, configureInterface, release, resultOf } from './container-interface.ts';
import { createWithAddresses } from './create-link.ts';
import { addRequiredIpam, checkIpam, dnsOf, gcIpam, interfacePluginKeys, requireIpam, statusIpam } from './ipam.ts';

const schema = z.object(interfacePluginKeys);

/**
 * An interface that leads nowhere, for addresses that a container is to have whatever its networks are.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists.
 */
export const dummy: Plugin = {
  type: 'dummy',
  versions: cniVersions,

  validate({ config }) {
    parsePluginConfig(schema, config);
    requireIpam(config);
  },

  async add(call) {
    const { ifName, netns } = call.attachment;
    const { dns } = parsePluginConfig(schema, call.config);
    requireIpam(call.config);
    using container = Container.open(call.attachment);

    await using undo = new AsyncDisposableStack();
    const newLink = { name: ifName, kind: { type: 'dummy' } } as const;
    // Made from within: on the node, its name may be taken.
    const [link, ipam] = await createWithAddresses(undo, container, container, newLink, call, () =>
      addRequiredIpam(call),
    );
    const result = resultOf(ifName, link, netns, ipam, dnsOf(dns, ipam));
    await configureInterface(container, link, result);
    undo.move();
    return result;
  },

  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    await release(container, call);
  },

  async check(call) {
    parsePluginConfig(schema, call.config);
    requireIpam(call.config);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    const { name, kind, flags } = await checkInterface(container, call);
    if (kind !== 'dummy') throw failure(`Container interface ${name} not of type dummy`);
    if (!flags.up) throw failure(`Interface ${name} is down`);
  },

  status: statusIpam,
  gc: gcIpam,
};

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
