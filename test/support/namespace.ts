import { createNamedNamespace, deleteNamedNamespace, NetworkNamespace } from '../../src/linux/namespace.ts';

let count = 0;

export interface TestNamespace extends AsyncDisposable {
  readonly path: string;
  readonly namespace: NetworkNamespace;
}

/** A throw-away network namespace with a name of our own. */
export async function testNamespace(): Promise<TestNamespace> {
  const path = await createNamedNamespace(`plx-test-${process.pid}-${count++}`);
  const namespace = NetworkNamespace.open(path);
  return {
    path,
    namespace,
    async [Symbol.asyncDispose]() {
      namespace[Symbol.dispose]();
      await deleteNamedNamespace(path);
    },
  };
}
