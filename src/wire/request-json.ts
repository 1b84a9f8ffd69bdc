/**
 * JSON from strangers: as `JSON.parse` reads it, after a look that refuses what parsers disagree about
 * or choke on: names that occur twice in an object, deep nesting, bytes that are no UTF-8, a byte order mark.
 *
 * The look knows only strings and brackets; everything else about the grammar is for `JSON.parse`.
 */
import { CaissonError } from '../lib/errors.ts';

export interface JsonBounds {
  readonly bytesMax: number;
  readonly depthMax: number;
}

/** `argument-invalid` or `limit-exceeded`; the message holds nothing of the text. `what` names it. */
export function parseRequestJson(bytes: Uint8Array, what: string, bounds: JsonBounds): unknown {
  if (bytes.length > bounds.bytesMax) throw tooMuch(what, `more than ${bounds.bytesMax} bytes`);
  const text = decode(bytes, what);
  checkStructure(text, what, bounds.depthMax);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw invalid(what, 'is not JSON');
  }
}

function decode(bytes: Uint8Array, what: string): string {
  try {
    // A byte order mark is kept, and then is not JSON.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid(what, 'is not UTF-8');
  }
}

/** One open bracket: of an object the names so far, and whether the next string is a name. */
interface Level {
  readonly names: Set<string> | undefined;
  expectsName: boolean;
}

function checkStructure(text: string, what: string, depthMax: number): void {
  const levels: Level[] = [];
  const pattern = /["{}[\],:]/g;
  for (let found = pattern.exec(text); found !== null; found = pattern.exec(text)) {
    const level = levels.at(-1);
    const at = found.index;
    switch (text.charAt(at)) {
      case '{':
      case '[': {
        if (levels.length === depthMax) throw tooMuch(what, `more than ${depthMax} levels`);
        const isObject = text[at] === '{';
        levels.push({ names: isObject ? new Set() : undefined, expectsName: isObject });
        break;
      }
      case '}':
      case ']':
        levels.pop();
        break;
      case ',':
        if (level?.names !== undefined) level.expectsName = true;
        break;
      case ':':
        if (level !== undefined) level.expectsName = false;
        break;
      default: {
        const end = endOfString(text, at + 1);
        if (end < 0) throw invalid(what, 'is not JSON');
        if (level?.names !== undefined && level.expectsName) noteName(level.names, text.substring(at, end + 1), what);
        pattern.lastIndex = end + 1;
      }
    }
  }
}

/** Where the closing quote is, or -1: it is the first one with an even number of backslashes before it. */
function endOfString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (quote - backslashes - 1 >= from && text[quote - backslashes - 1] === '\\') backslashes++;
    if (backslashes % 2 === 0) return quote;
  }
  return -1;
}

function noteName(names: Set<string>, quoted: string, what: string): void {
  let name: unknown;
  try {
    name = JSON.parse(quoted); // two spellings of one name are the same name
  } catch {
    throw invalid(what, 'is not JSON');
  }
  if (names.has(String(name))) throw invalid(what, 'names a member twice');
  names.add(String(name));
}

function invalid(what: string, problem: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `${what} ${problem}`);
}

function tooMuch(what: string, problem: string): CaissonError {
  return new CaissonError('invalid', 'limit-exceeded', `${what} has ${problem}`);
}
