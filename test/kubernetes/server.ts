import { after, before, describe } from 'node:test';
import { Access } from '../../src/kubernetes/access.ts';
import { Client } from '../../src/kubernetes/client.ts';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import {
  events,
  networkAttachmentDefinitions,
  pods,
  resourceClaims,
  resourceSlices,
} from '../../src/playground/api/resources.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { Admin } from '../support/admin.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type ControlPlane, type Endpoint, startControlPlane, versionOf } from '../support/kube-apiserver.ts';
import { prepare } from './prepare.ts';

/** An API server with the objects of one test, the way to it with all its faults, and a client that goes that way. */
export interface Running extends AsyncDisposable {
  readonly proxy: FaultProxy;
  readonly admin: Admin;
  readonly client: Client;
}

/** An API server under test. */
export interface Server {
  /**
   * @param objects What there is from the start, and all of its kind.
   * @param as Whose rights the client has; the daemon's unless told.
   */
  start(objects?: readonly KubernetesObject[], as?: 'daemon' | 'administrator'): Promise<Running>;
}

const embedded: Server = {
  async start(objects = []) {
    const api = await startApi({ objects });
    const here = { url: new URL(api.url) };
    return running(here, new Admin(here), () => api.close());
  },
};

/**
 * The same tests for each API server there is: the embedded one, and where KUBEBUILDER_ASSETS names a folder with
 * kube-apiserver and etcd, those, started once for all of the tests.
 *
 * @param concurrency How many tests may run at once where each has a server of its own: those that mostly wait.
 */
export async function onEachServer(tests: (server: Server) => void, concurrency = 1): Promise<void> {
  describe('embedded API', { concurrency }, () => tests(embedded));
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets === undefined || assets === '') return;
  describe(`kube-apiserver ${await versionOf(assets)}`, () => tests(kubeApiServer(assets)));
}

function kubeApiServer(assets: string): Server {
  let plane: ControlPlane | undefined;
  let admin: Admin | undefined;
  before(async () => {
    plane = await startControlPlane(assets);
    admin = new Admin(plane.administrator);
    await prepare(admin);
  });
  after(async () => {
    admin?.[Symbol.dispose]();
    await plane?.[Symbol.asyncDispose]();
  });
  return {
    async start(objects = [], as = 'daemon') {
      if (plane === undefined || admin === undefined) throw new Error('tests of a server that is not there');
      await clear(admin);
      for (const object of objects) await admin.create(object);
      return running(as === 'daemon' ? plane.user : plane.administrator, admin, async () => {});
    },
  };
}

async function running(at: Endpoint, admin: Admin, end: () => Promise<void>): Promise<Running> {
  const proxy = await FaultProxy.before(at);
  const client = new Client(accessTo(proxy));
  return {
    proxy,
    admin,
    client,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await proxy.close();
      await end();
    },
  };
}

/** The way to a server that asks for no credentials. */
export function accessTo({ url }: { readonly url: string }): Access {
  return new Access({ origin: 'test', load: () => Promise.resolve({ server: new URL(url), tls: {}, headers: {} }) });
}

/** Takes away what an earlier test has left. */
async function clear(admin: Admin): Promise<void> {
  for (const resource of [pods, networkAttachmentDefinitions, events, resourceClaims, resourceSlices]) {
    for (const { metadata } of await admin.list(resource)) {
      await admin.delete(resource, metadata.namespace ?? 'default', metadata.name);
    }
  }
}
