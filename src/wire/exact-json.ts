/**
 * JSON whose bytes were signed (spec/attestation.md, "Exact JSON"): one meaning for every text, and the exact bytes of every member.
 *
 * Refuses what parsers read differently: a member that is there twice, bytes that are not UTF-8, a byte order mark, numbers that are
 * not whole or not exact, lone surrogates, anything after the end, more than `jsonBytesMax` bytes or `jsonDepthMax` levels.
 *
 * A `JsonNode` knows its path, so that a refusal names the member: `format-invalid`, which callers say in their own words.
 */
import { CaissonError } from '../lib/errors.ts';
import { jsonBytesMax, jsonDepthMax } from '../lib/limits.ts';

type Content = null | boolean | number | string | readonly JsonNode[] | ReadonlyMap<string, JsonNode>;

/** `bytesMax`: of texts that nobody signed as one and that are larger. */
export function parseExactJson(bytes: Uint8Array, bytesMax = jsonBytesMax): JsonNode {
  if (bytes.length > bytesMax) throw invalid('', `more than ${bytesMax} bytes`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw invalid('', 'it is not UTF-8', error);
  }
  const parser = new Parser(text);
  const node = parser.value('', 0);
  parser.end();
  return node;
}

export class JsonNode {
  readonly path: string;
  readonly #content: Content;
  readonly #source: string;

  constructor(path: string, content: Content, source: string) {
    this.path = path;
    this.#content = content;
    this.#source = source;
  }

  /** The bytes of this value as they stood there, without the blanks around them. */
  get bytes(): Uint8Array {
    return new TextEncoder().encode(this.#source);
  }

  member(name: string): JsonNode {
    return this.optional(name) ?? fail(`${this.path}/${name}`, 'it is missing');
  }

  optional(name: string): JsonNode | undefined {
    return this.members().get(name);
  }

  members(): ReadonlyMap<string, JsonNode> {
    return this.#content instanceof Map ? this.#content : fail(this.path, 'it is no object');
  }

  list(): readonly JsonNode[] {
    return Array.isArray(this.#content) ? (this.#content as readonly JsonNode[]) : fail(this.path, 'it is no list');
  }

  text(): string {
    return typeof this.#content === 'string' ? this.#content : fail(this.path, 'it is no text');
  }

  boolean(): boolean {
    return typeof this.#content === 'boolean' ? this.#content : fail(this.path, 'it is neither true nor false');
  }

  /** A whole number from 0 up to `max`. */
  count(max: number): number {
    const number = this.#content;
    const isRight = typeof number === 'number' && number >= 0 && number <= max;
    return isRight ? number : fail(this.path, `it is no whole number up to ${max}`);
  }
}

class Parser {
  readonly #text: string;
  #offset = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(path: string, depth: number): JsonNode {
    if (depth > jsonDepthMax) throw invalid(path, `more than ${jsonDepthMax} levels`);
    this.#blanks();
    const start = this.#offset;
    const content = this.#content(path, depth);
    const node = new JsonNode(path, content, this.#text.substring(start, this.#offset));
    this.#blanks();
    return node;
  }

  end(): void {
    if (this.#offset !== this.#text.length) throw invalid('', 'something stands after the end');
  }

  #content(path: string, depth: number): Content {
    const first = this.#text[this.#offset];
    if (first === '{') return this.#object(path, depth);
    if (first === '[') return this.#list(path, depth);
    if (first === '"') return this.#string(path);
    if (this.#take('true')) return true;
    if (this.#take('false')) return false;
    if (this.#take('null')) return null;
    return this.#number(path);
  }

  #object(path: string, depth: number): Content {
    const members = new Map<string, JsonNode>();
    this.#offset += 1;
    this.#blanks();
    if (this.#take('}')) return members;
    do {
      this.#blanks();
      const name = this.#string(path);
      if (members.has(name)) throw invalid(`${path}/${name}`, 'it is there twice');
      this.#blanks();
      if (!this.#take(':')) throw invalid(path, 'a colon is missing');
      members.set(name, this.value(`${path}/${name}`, depth + 1));
    } while (this.#take(','));
    if (!this.#take('}')) throw invalid(path, 'an object does not end');
    return members;
  }

  #list(path: string, depth: number): Content {
    const items: JsonNode[] = [];
    this.#offset += 1;
    this.#blanks();
    if (this.#take(']')) return items;
    do items.push(this.value(`${path}/${items.length}`, depth + 1));
    while (this.#take(','));
    if (!this.#take(']')) throw invalid(path, 'a list does not end');
    return items;
  }

  /** Finds the end of the token; what stands between is for the platform's own parser, which is strict about it. */
  #string(path: string): string {
    const token = /"(?:[^"\\]|\\.)*"/sy;
    token.lastIndex = this.#offset;
    const [source] = token.exec(this.#text) ?? [];
    if (source === undefined) throw invalid(path, 'a text is missing or does not end');
    this.#offset += source.length;
    let text: string;
    try {
      text = JSON.parse(source) as string;
    } catch (error) {
      throw invalid(path, 'a text holds what no text may hold', error);
    }
    if (!text.isWellFormed()) throw invalid(path, 'a text holds half a character');
    return text;
  }

  #number(path: string): number {
    const token = /-?(?:0|[1-9]\d*)(?![\d.eE])/y;
    token.lastIndex = this.#offset;
    const [source] = token.exec(this.#text) ?? [];
    const number = Number(source);
    if (source === undefined || !Number.isSafeInteger(number) || Object.is(number, -0))
      throw invalid(path, 'there is neither a value nor an exact whole number');
    this.#offset += source.length;
    return number;
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#offset)) return false;
    this.#offset += token.length;
    return true;
  }

  #blanks(): void {
    const blanks = /[ \t\r\n]*/y;
    blanks.lastIndex = this.#offset;
    this.#offset += blanks.exec(this.#text)?.[0].length ?? 0;
  }
}

function fail(path: string, message: string): never {
  throw invalid(path, message);
}

function invalid(path: string, message: string, cause?: unknown): CaissonError {
  const place = path.length > 100 ? `${path.substring(0, 100)}…` : path || 'the text';
  const options = cause === undefined ? {} : { cause };
  return new CaissonError('invalid', 'format-invalid', `not the JSON it should be: ${place}: ${message}`, options);
}
