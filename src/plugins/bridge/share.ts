import { Rtnetlink } from '../../linux/rtnetlink.ts';

/*
 * What attachments use together on the node, such as a bridge and its address, is made by the first that needs it. Where
 * that one fails it must take it back, but not from others that have found it there meanwhile.
 */

/** Calls under way that share one thing. */
class Group {
  members = 0;
  isKept = false;
  undo = new AsyncDisposableStack();
  atEnd: (() => Promise<void>) | undefined;
  #tail: Promise<unknown> = Promise.resolve();

  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}

const groups = new Map<string, Group>();

/** One call's part in something shared. */
export class Share implements AsyncDisposable {
  readonly #key: string;
  readonly #group: Group;

  constructor(key: string) {
    this.#key = key;
    this.#group = groups.get(key) ?? new Group();
    this.#group.members++;
    groups.set(key, this.#group);
  }

  /** Does something while none of the others that share does. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#group.inTurn(work);
  }

  /**
   * Has what this call made for all taken back once all that share it have ended, and none has kept it.
   *
   * @param undo Is given a routing socket of the node: the call's own may be closed by then.
   */
  defer(undo: (node: Rtnetlink) => Promise<void>): void {
    this.#group.undo.defer(() => onNode(undo));
  }

  /**
   * Has something done once all that share it have ended, whether any has kept it or not, and after all that is to be
   * taken back: what nobody uses any more can be removed then. Of several, the last one that was given counts.
   *
   * @param work Is given a routing socket of the node.
   */
  atEnd(work: (node: Rtnetlink) => Promise<void>): void {
    this.#group.atEnd = () => onNode(work);
  }

  keep(): void {
    this.#group.isKept = true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    const group = this.#group;
    return group.inTurn(async () => {
      if (--group.members > 0) return;
      const ending = new AsyncDisposableStack();
      const undo = group.undo.move();
      if (group.atEnd !== undefined) ending.defer(group.atEnd);
      if (!group.isKept) ending.use(undo);
      group.undo = new AsyncDisposableStack();
      group.atEnd = undefined;
      group.isKept = false;
      try {
        await ending.disposeAsync();
      } finally {
        // Whoever has come meanwhile waits in this group for its turn.
        if (group.members === 0) groups.delete(this.#key);
      }
    });
  }
}

async function onNode(work: (node: Rtnetlink) => Promise<void>): Promise<void> {
  using node = Rtnetlink.open();
  await work(node);
}

/** All that a call shares with others. It ends with its disposal, what came last first. */
export class Shares implements AsyncDisposable {
  readonly #held = new AsyncDisposableStack();
  readonly #shares: Share[] = [];

  /** @param key Names what is shared. */
  hold(key: string): Share {
    const share = this.#held.use(new Share(key));
    this.#shares.push(share);
    return share;
  }

  /** The call has succeeded: what it shares stays. */
  keep(): void {
    for (const share of this.#shares) share.keep();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#held.disposeAsync();
  }
}
