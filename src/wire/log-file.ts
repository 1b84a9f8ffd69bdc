/**
 * A downloaded release log, `caisson-log-1`: written by a broker, checked by anybody. Spec:
 * spec/release-log.md, "Downloaded log". Pure: pieces of bytes in, lines or a verdict out.
 *
 * Invariant: verification keeps one line and one frontier in memory, however long the log is.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { logLineBytesMax } from '../lib/limits.ts';
import { equalBytes } from '../crypto/digest.ts';
import { publicKeyBytes } from '../crypto/signature.ts';
import { Frontier, emptyRoot, hashLeaf } from './merkle.ts';
import {
  decodeCanonical,
  encodeCanonical,
  encodeHead,
  invalid,
  isHeadSignedBy,
  logIdBytes,
  logIdOf,
  members,
  readBytes,
  readEntry,
  readHead,
} from './release-log.ts';
import type { LoggedEntry, SignedHead } from './release-log.ts';

const formatName = 'caisson-log-1';
const lineFeed = 0x0a;

/** A log that can be written out: `head` is of the leaves before it and is not larger than what there is. */
export interface LogSource {
  readonly publicKey: Uint8Array;
  readonly head: SignedHead;
  leaves(from: number, count: number): Promise<readonly { readonly bytes: Uint8Array }[]>;
}

const leavesPerPiece = 256;

/** The file in pieces; whoever writes them may stop asking at any time. */
export async function* writeLogFile({ publicKey, head, leaves }: LogSource): AsyncGenerator<Uint8Array> {
  const header = { format: formatName, key: toHex(publicKey), log: toHex(logIdOf(publicKey)) };
  yield joinLines([encodeCanonical(header)]);
  for (let from = 0; from < head.size;) {
    const found = await leaves(from, Math.min(leavesPerPiece, head.size - from));
    if (found.length === 0) throw tampered(0, `leaf ${from} of ${head.size} is missing`);
    yield joinLines(found.map(({ bytes }) => bytes));
    from += found.length;
  }
  yield joinLines([encodeHead(head)]);
}

export interface LogExpectations {
  /** The key that the log must have; undefined: the file vouches for itself. */
  readonly publicKey?: Uint8Array | undefined;
  /** A head kept from before: the log must begin with what it stood for. */
  readonly since?: SignedHead | undefined;
  /** Told each entry once its line is read; the log is proved only when all of it is. */
  readonly onEntry?: ((entry: LoggedEntry, leafHash: Uint8Array) => void) | undefined;
}

export interface VerifiedLog {
  readonly publicKey: Uint8Array;
  /** The last line. */
  readonly head: SignedHead;
  readonly headCount: number;
  /** How many entries of each kind. */
  readonly kinds: Readonly<Record<string, number>>;
}

/** Throws `log-tampered` with the line, `format-invalid` for what is no such log, `format-version` for a later one. */
export async function verifyLogFile(
  pieces: AsyncIterable<Uint8Array>,
  expectations: LogExpectations = {},
): Promise<VerifiedLog> {
  const verifier = new LogFileVerifier(expectations);
  const lines = new LineSplitter((line) => verifier.take(line));
  for await (const piece of pieces) lines.push(piece);
  lines.finish();
  return verifier.finish();
}

class LogFileVerifier {
  readonly #expectations: LogExpectations;
  readonly #frontier = new Frontier();
  readonly #kinds = new Map<string, number>();
  #line = 0;
  #publicKey: Uint8Array | undefined;
  #lastHead: SignedHead | undefined;
  #headCount = 0;
  #isHeadLast = false;

  constructor(expectations: LogExpectations) {
    this.#expectations = expectations;
  }

  take(line: Uint8Array): void {
    this.#line++;
    if (this.#publicKey === undefined) {
      this.#publicKey = this.#readHeader(line);
      this.#checkSince();
      return;
    }
    const value = this.#decode(() => decodeCanonical(line));
    this.#isHeadLast = isHeadLine(value);
    if (this.#isHeadLast) this.#takeHead(this.#publicKey, value);
    else this.#takeLeaf(value, line);
  }

  finish(): VerifiedLog {
    if (this.#publicKey === undefined) throw invalid('it is empty');
    const since = this.#expectations.since;
    if (since !== undefined && since.size > this.#frontier.size)
      throw tampered(this.#line, `it has ${this.#frontier.size} leaves; the earlier head stands for ${since.size}`);
    if (this.#lastHead === undefined || !this.#isHeadLast)
      throw tampered(this.#line, 'its last line is not a signed head: the end is missing');
    const kinds = Object.fromEntries([...this.#kinds].toSorted(([left], [right]) => (left < right ? -1 : 1)));
    return { publicKey: this.#publicKey, head: this.#lastHead, headCount: this.#headCount, kinds };
  }

  #readHeader(line: Uint8Array): Uint8Array {
    const value = decodeCanonical(line);
    const { format } = typeof value === 'object' && value !== null ? (value as { format?: unknown }) : {};
    if (typeof format === 'string' && format !== formatName && /^caisson-log-\d+$/.test(format)) {
      throw new CaissonError('invalid', 'format-version', `this log is of the format ${format}`, {
        remedy: 'Verify it with the Caisson that wrote it, or a later one.',
      });
    }
    const header = members(value, ['format', 'key', 'log'], 'the header');
    if (header.format !== formatName) throw invalid('its header has another format');
    const publicKey = readBytes(header.key, publicKeyBytes, 'the key');
    if (!equalBytes(readBytes(header.log, logIdBytes, 'the log id'), logIdOf(publicKey)))
      throw tampered(1, 'its id is not that of its key');
    const wanted = this.#expectations.publicKey;
    if (wanted !== undefined && !equalBytes(wanted, publicKey)) throw tampered(1, 'it is the log of another key');
    return publicKey;
  }

  #takeLeaf(value: unknown, line: Uint8Array): void {
    const entry = this.#decode(() => readEntry(value));
    const place = this.#frontier.size;
    if (entry.index !== place) throw tampered(this.#line, `it holds leaf ${entry.index} in the place of leaf ${place}`);
    const hash = hashLeaf(line);
    this.#frontier.append(hash);
    if (this.#kinds.size < kindsMax || this.#kinds.has(entry.kind))
      this.#kinds.set(entry.kind, (this.#kinds.get(entry.kind) ?? 0) + 1);
    this.#expectations.onEntry?.(entry, hash);
    this.#checkSince();
  }

  #takeHead(publicKey: Uint8Array, value: unknown): void {
    const head = this.#decode(() => readHead(value));
    if (!isHeadSignedBy(publicKey, head)) throw tampered(this.#line, 'the signature of a head does not hold');
    if (head.size !== this.#frontier.size)
      throw tampered(this.#line, `a head for ${head.size} leaves stands after ${this.#frontier.size}`);
    if (!equalBytes(head.root, this.#frontier.root()))
      throw tampered(this.#line, 'a head has another root than the leaves before it');
    this.#lastHead = head;
    this.#headCount++;
  }

  /** Checked at the one moment when the log has just as many leaves as the earlier head. */
  #checkSince(): void {
    const { since } = this.#expectations;
    if (since === undefined || this.#publicKey === undefined || since.size !== this.#frontier.size) return;
    if (!isHeadSignedBy(this.#publicKey, since)) throw tampered(this.#line, 'the earlier head is not of this log');
    const root = since.size === 0 ? emptyRoot : this.#frontier.root();
    if (!equalBytes(root, since.root))
      throw tampered(this.#line, `its first ${since.size} leaves are not those of the earlier head`);
  }

  /** After the header everything that is wrong is a change of a log. */
  #decode<Value>(read: () => Value): Value {
    try {
      return read();
    } catch (error) {
      if (!isCaissonError(error, 'format-invalid')) throw error;
      throw tampered(this.#line, error.message, error);
    }
  }
}

/** A log has a dozen kinds; a hostile one does not fill the memory with others. */
const kindsMax = 64;

/** Cuts pieces into lines; a line is copied only where a piece ends within it. */
class LineSplitter {
  readonly #take: (line: Uint8Array) => void;
  readonly #held = new Uint8Array(logLineBytesMax);
  #heldBytes = 0;
  #line = 1;

  constructor(take: (line: Uint8Array) => void) {
    this.#take = take;
  }

  push(piece: Uint8Array): void {
    let begin = 0;
    for (;;) {
      const end = piece.indexOf(lineFeed, begin);
      if (end < 0) break;
      this.#give(piece.subarray(begin, end));
      begin = end + 1;
    }
    this.#hold(piece.subarray(begin));
  }

  finish(): void {
    if (this.#heldBytes > 0) throw tampered(this.#line, 'it ends within a line');
  }

  #give(rest: Uint8Array): void {
    if (this.#heldBytes === 0) {
      if (rest.length > logLineBytesMax) throw this.#tooLong();
      this.#take(rest);
    } else {
      this.#hold(rest);
      const line = this.#held.subarray(0, this.#heldBytes);
      this.#heldBytes = 0;
      this.#take(line);
    }
    this.#line++;
  }

  #hold(rest: Uint8Array): void {
    if (this.#heldBytes + rest.length > logLineBytesMax) throw this.#tooLong();
    this.#held.set(rest, this.#heldBytes);
    this.#heldBytes += rest.length;
  }

  /** The first line decides whether this is a log at all. */
  #tooLong(): CaissonError {
    const reason = `a line has more than ${logLineBytesMax} bytes`;
    return this.#line === 1 ? invalid(reason) : tampered(this.#line, reason);
  }
}

export function tampered(line: number, reason: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'log-tampered', `the release log does not hold, line ${line}: ${reason}`, {
    remedy: 'Keep this file and the earlier head: together they show that the log was changed.',
    details: { line },
    ...(cause === undefined ? {} : { cause }),
  });
}

function isHeadLine(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'signature');
}

function joinLines(lines: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(lines.reduce((bytes, line) => bytes + line.length + 1, 0));
  let at = 0;
  for (const line of lines) {
    joined.set(line, at);
    at += line.length;
    joined[at++] = lineFeed;
  }
  return joined;
}
