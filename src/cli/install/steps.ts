import { channel } from 'node:diagnostics_channel';

/** Told before and after each change of the node. Tests end the process here: whatever step that is, pods must go on. */
const changes = channel('plexus:install');

/** Says what is done, a line each, and does it, unless that is not wanted. */
export class Steps {
  readonly isDry: boolean;
  readonly #print: (line: string) => void;

  /** @param isDry Nothing is changed; it is said what would be. */
  constructor(isDry: boolean, print: (line: string) => void) {
    this.isDry = isDry;
    this.#print = print;
  }

  /** Tells what is left as it is, or is to be known. */
  note(subject: string, what: string): void {
    this.#print(`${subject}: ${printable(what)}`);
  }

  /**
   * Takes a step.
   *
   * @param done What has been done then, as it goes on after "would be": `put there`, `removed`.
   */
  async take(subject: string, done: string, act: () => Promise<void>): Promise<void> {
    if (!this.isDry) {
      changes.publish({ at: 'before', subject });
      await act();
      changes.publish({ at: 'after', subject });
    }
    this.note(subject, this.isDry ? `would be ${done}` : done);
  }
}

/** Steps that are told on standard output, also where nobody reads on: that must not cut them short. */
export function printedSteps(isDry: boolean): Steps {
  process.stdout.on('error', () => undefined);
  return new Steps(isDry, (line) => process.stdout.write(`${line}\n`));
}

/** What others wrote must not draw lines of its own. */
const printable = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ');
