import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';

/* A conversation with servers, whichever the protocol: messages, answers, and what is due when none comes. */

/** Milliseconds of a clock that runs on while the node sleeps, and is not set by anybody. */
export type Clock = () => number;

export interface Terms<State> {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** When no more is listened for, whatever the state is then. */
  readonly giveUpAt: number;
  /** Told of each state before its message is sent: what it means is to be on the disk by then. */
  entered?(state: State): Promise<void>;
}

/** What a protocol's client does. */
export interface Rules<State, Sending, Received> {
  /** Undefined when what was received is not for the state. */
  receive(state: State, received: Received, now: number): Step<State, Sending> | undefined;
  elapse(state: State, now: number): Step<State, Sending>;
  dueAt(state: State): number | undefined;
  /** Nothing more is to be said. */
  isSettled(state: State): boolean;
}

export interface Step<State, Sending> {
  readonly state: State;
  readonly send?: Sending | undefined;
}

export interface Conversation<State, Sending, Received> extends Terms<State>, Rules<State, Sending, Received> {
  readonly port: {
    send(sending: Sending): void;
    /** What is there. */
    receive(): readonly Received[];
  };
}

/**
 * Goes on from a step until all is said, or the time is up.
 *
 * Nothing waits for the socket: it is looked at, at first after a millisecond, then after a twentieth of the time that the
 * answer has taken so far. A hundred leases that wait for a server that is gone take a twentieth of a processor in their
 * first seconds, less from then on, and no thread.
 *
 * @throws {Error} the signal's reason.
 */
export async function converse<State, Sending, Received>(
  conversation: Conversation<State, Sending, Received>,
  first: Step<State, Sending>,
): Promise<State> {
  const { port, signal, entered, isSettled } = conversation;
  for (let step: Step<State, Sending> | undefined = first; ; ) {
    const { state, send }: Step<State, Sending> = step;
    await entered?.(state);
    signal.throwIfAborted();
    if (send !== undefined) port.send(send);
    if (isSettled(state)) return state;
    step = await nextStep(conversation, state);
    if (step === undefined) return state;
  }
}

const shortestLook = 1;
const longestLook = 500;
const partOfWait = 1 / 20;

/** @returns undefined when the time is up. */
async function nextStep<State, Sending, Received>(
  { port, clock, signal, giveUpAt, ...rules }: Conversation<State, Sending, Received>,
  state: State,
): Promise<Step<State, Sending> | undefined> {
  const due = rules.dueAt(state) ?? 0;
  const began = clock();
  for (;;) {
    const now = clock();
    for (const received of port.receive()) {
      const step = rules.receive(state, received, now);
      if (step === undefined) continue;
      // Answers may come faster than they are read: others have their turn.
      await turn();
      return step;
    }
    if (now >= giveUpAt) return undefined;
    if (now >= due) return rules.elapse(state, now);
    const look = Math.min(Math.max((now - began) * partOfWait, shortestLook), longestLook);
    await sleep(Math.min(look, due - now, giveUpAt - now), undefined, { signal });
  }
}
