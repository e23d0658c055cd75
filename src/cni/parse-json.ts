import { CniError, ErrorCode } from './error.ts';
import type { JsonValue } from './json.ts';

/** A configuration or result larger than this is refused: Kubernetes itself stores no larger object. */
export const maxTextLength = 1 << 20;

/** Deeper nesting than any configuration needs, and shallow enough for every recursive reader. */
export const maxDepth = 64;

/**
 * Reads JSON that somebody wrote by hand or that comes from a pod.
 *
 * @param source What the text is, as the message begins: a file's path, an object and its field, a plugin's output.
 * @throws {CniError} 6 naming source, line, column, what was expected there and the text around it.
 */
export function parseJson(text: string, source: string): JsonValue {
  if (text.length > maxTextLength) {
    throw decodingError(source, `expected at most ${maxTextLength} characters of JSON, found ${text.length}`);
  }
  if (isNestedTooDeep(text)) throw decodingError(source, `expected JSON nested at most ${maxDepth} deep`);
  try {
    const value: JsonValue = JSON.parse(text);
    return value;
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    throw decodingError(source, describeJsonError(text));
  }
}

function decodingError(source: string, problem: string): CniError {
  return new CniError(ErrorCode.DecodingFailure, `${source}: ${problem}`);
}

function isNestedTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (inString) {
      if (character === '\\') at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') {
      if (++depth > maxDepth) return true;
    } else if (character === '}' || character === ']') depth--;
  }
  return false;
}

/** Where malformed JSON goes wrong. The engine's own message has no position for half of the mistakes people make. */
function describeJsonError(text: string): string {
  const mistake = new JsonScanner(text).findMistake();
  if (mistake === undefined) return 'malformed JSON';
  const before = text.slice(0, mistake.at);
  const line = before.split('\n').length;
  const column = mistake.at - before.lastIndexOf('\n');
  const found = mistake.at >= text.length ? 'the end of the text' : printable(text.charAt(mistake.at));
  const excerpt = printable(text.slice(Math.max(0, mistake.at - 20), mistake.at + 20)).trim();
  const near = excerpt === '' ? '' : `, near: ${excerpt}`;
  return `line ${line}, column ${column}: expected ${mistake.expected}, found ${found}${near}`;
}

/** Fit for one line of a log: white space and control characters become spaces. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
  return text.replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, ' ');
}

class Mistake extends Error {
  readonly at: number;
  readonly expected: string;

  constructor(at: number, expected: string) {
    super(expected);
    this.at = at;
    this.expected = expected;
  }
}

/** Walks the grammar of RFC 8259 up to the first character that breaks it. Runs only over text known to be malformed. */
class JsonScanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  findMistake(): Mistake | undefined {
    try {
      this.#value();
      this.#space();
      if (this.#at < this.#text.length) this.#fail('nothing after the value');
      return undefined;
    } catch (thrown) {
      if (thrown instanceof Mistake) return thrown;
      throw thrown;
    }
  }

  #fail(expected: string): never {
    throw new Mistake(this.#at, expected);
  }

  #space(): void {
    this.#accept(/[ \t\r\n]*/y);
  }

  #accept(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return false;
    this.#at += match[0].length;
    return true;
  }

  #value(): void {
    this.#space();
    if (this.#accept(/\{/y)) this.#members('}', () => this.#member());
    else if (this.#accept(/\[/y)) this.#members(']', () => this.#value());
    else if (this.#text.charAt(this.#at) === '"') this.#string();
    else if (!this.#accept(/(?:true|false|null)\b|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y)) this.#fail('a value');
  }

  #members(close: '}' | ']', member: () => void): void {
    const end = close === '}' ? /\}/y : /\]/y;
    this.#space();
    if (this.#accept(end)) return;
    for (;;) {
      member();
      this.#space();
      if (this.#accept(end)) return;
      if (!this.#accept(/,/y)) this.#fail(`"," or "${close}"`);
    }
  }

  #member(): void {
    this.#space();
    if (this.#text.charAt(this.#at) !== '"') this.#fail('a key in double quotes');
    this.#string();
    this.#space();
    if (!this.#accept(/:/y)) this.#fail('":"');
    this.#value();
  }

  #string(): void {
    this.#accept(/"/y);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: RFC 8259 forbids exactly these inside a string
    this.#accept(/(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*/y);
    if (!this.#accept(/"/y)) this.#fail('the string to go on, and a closing double quote');
  }
}
