/**
 * `caisson log …` on a downloaded copy: nothing is asked of a broker. A file may be of any length; what
 * is kept in memory is bounded (wire/log-file.ts).
 */
import { createReadStream } from 'node:fs';
import fs from 'node:fs/promises';
import type { LogCopy, LogProofReport, LogReport, LogShowRequest, LogTools } from '../admin/broker-tools.ts';
import type { LogShown } from '../admin/broker-tools.ts';
import { publicKeyBytes } from '../crypto/signature.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { logLineBytesMax, logProofBytesMax, logShownEntriesMax } from '../lib/limits.ts';
import { verifyLogFile } from '../wire/log-file.ts';
import type { VerifiedLog } from '../wire/log-file.ts';
import { checkProof, encodeConsistencyProof, encodeInclusionProof } from '../wire/log-proof.ts';
import { buildProof, Frontier, planConsistency, planInclusion } from '../wire/merkle.ts';
import type { NodeId, ProofPlan } from '../wire/merkle.ts';
import { decodeHead, encodeHead, encodeLeaf, logIdOf } from '../wire/release-log.ts';
import type { LogEntry, LoggedEntry, SignedHead } from '../wire/release-log.ts';
import { replaceFile } from './heads/file-head-anchor.ts';

export const logTools: LogTools = {
  async verify(copy, headFile) {
    const verified = await verifyCopy(copy);
    if (headFile !== undefined) await replaceFile(headFile, withLineFeed(encodeHead(verified.head)));
    return reportOf(copy, verified);
  },

  async show(copy, request) {
    const entries: LoggedEntry[] = [];
    let matching = 0;
    const verified = await verifyCopy(copy, (entry) => {
      if (!isWanted(entry, request)) return;
      matching++;
      if (entries.length < Math.min(request.count, logShownEntriesMax)) entries.push(entry);
    });
    return { ...reportOf(copy, verified), matching, entries } satisfies LogShown;
  },

  async prove(copy, index) {
    if (index === undefined) return proveConsistency(copy);
    const verified = await verifyCopy(copy);
    const { head, publicKey } = verified;
    if (index >= head.size) {
      throw new CaissonError('invalid', 'range-outside', `this log has ${head.size} lines: there is no line ${index}`, {
        remedy: 'Count from 0; "caisson log show" lists the lines.',
      });
    }
    let leaf: Uint8Array | undefined;
    const proof = await proofFromCopy(copy, head, planInclusion(index, head.size), (entry) => {
      if (entry.index === index) leaf = encodeLeaf(entry as LogEntry, index);
    });
    if (leaf === undefined) throw changedMeanwhile(copy.file);
    return textOf(encodeInclusionProof(publicKey, head, leaf, proof));
  },

  async checkProof(file, key) {
    const bytes = await readWhole(file, logProofBytesMax);
    const proof = checkProof(bytes, await readLogKey(key));
    const log = { log: toHex(logIdOf(proof.publicKey)), key: toHex(proof.publicKey), isKeyGiven: key !== undefined };
    const report: LogProofReport =
      proof.kind === 'inclusion'
        ? { ...log, kind: 'inclusion', entry: proof.entry, size: proof.head.size, time: proof.head.time }
        : { ...log, kind: 'consistency', from: proof.first.size, size: proof.second.size, time: proof.second.time };
    return report;
  },
};

async function proveConsistency(copy: LogCopy): Promise<string> {
  const first = await readSince(copy.since);
  if (first === undefined) {
    throw new CaissonError('invalid', 'argument-invalid', 'nothing to prove was named', {
      remedy: 'Give the place of a line, or an earlier head with --since.',
    });
  }
  const { head, publicKey } = await verifyCopy(copy);
  const proof = await proofFromCopy(copy, head, planConsistency(first.size, head.size), () => undefined);
  return textOf(encodeConsistencyProof(publicKey, first, head, proof));
}

/** Reads the copy once more and keeps the subtrees that the proof needs, a few dozen at most. */
async function proofFromCopy(
  copy: LogCopy,
  head: SignedHead,
  plan: ProofPlan,
  onEntry: (entry: LoggedEntry) => void,
): Promise<Uint8Array[]> {
  const nameOf = ({ level, index }: NodeId): string => `${level} ${index}`;
  const wanted = new Set(plan.flat().map(nameOf));
  const found = new Map<string, Uint8Array>();
  const frontier = new Frontier();
  const again = await verifyCopy(copy, (entry, hash) => {
    for (const node of frontier.append(hash)) if (wanted.has(nameOf(node))) found.set(nameOf(node), node.hash);
    onEntry(entry);
  });
  if (again.head.size !== head.size || toHex(again.head.root) !== toHex(head.root)) throw changedMeanwhile(copy.file);
  return buildProof(plan, (ids) =>
    Promise.resolve(
      ids.map((id) => {
        const hash = found.get(nameOf(id));
        if (hash === undefined) throw changedMeanwhile(copy.file);
        return hash;
      }),
    ),
  );
}

async function verifyCopy(
  { file, key, since }: LogCopy,
  onEntry?: (entry: LoggedEntry, leafHash: Uint8Array) => void,
): Promise<VerifiedLog> {
  const expectations = { publicKey: await readLogKey(key), since: await readSince(since), onEntry };
  try {
    return await verifyLogFile(createReadStream(file), expectations);
  } catch (error) {
    throw isCaissonError(error) ? error : unreadable(file, error);
  }
}

function reportOf({ key, since }: LogCopy, { publicKey, head, headCount, kinds }: VerifiedLog): LogReport {
  return {
    log: toHex(logIdOf(publicKey)),
    key: toHex(publicKey),
    isKeyGiven: key !== undefined,
    isContinuation: since !== undefined,
    size: head.size,
    root: toHex(head.root),
    time: head.time,
    headCount,
    kinds,
  };
}

function isWanted({ index, kind, tenant }: LoggedEntry, request: LogShowRequest): boolean {
  return (
    index >= request.from &&
    (request.kind === undefined || kind === request.kind) &&
    (request.tenant === undefined || tenant === request.tenant)
  );
}

/** 64 hexadecimal digits, or a file that holds them. */
export async function readLogKey(text: string | undefined): Promise<Uint8Array | undefined> {
  if (text === undefined) return undefined;
  const given = fromHex(text, publicKeyBytes);
  if (given !== undefined) return given;
  const held = fromHex(textOf(await readWhole(text, keyFileBytesMax)).trim(), publicKeyBytes);
  if (held !== undefined) return held;
  throw new CaissonError('invalid', 'argument-invalid', `${text} is not the key of a log`, {
    remedy: 'Give 64 hexadecimal digits, or a file that holds them and nothing else.',
  });
}

const keyFileBytesMax = 256;

/** A file with a head, or an earlier copy of the log: its last line is one. */
async function readSince(file: string | undefined): Promise<SignedHead | undefined> {
  if (file === undefined) return undefined;
  const lines = textOf(await readEnd(file))
    .trimEnd()
    .split('\n');
  try {
    return decodeHead(new TextEncoder().encode(lines.at(-1)));
  } catch (error) {
    throw new CaissonError('invalid', 'format-invalid', `${file} holds no head of a log`, {
      remedy: 'Give what "caisson log verify --save-head" wrote, or an earlier copy of the log.',
      cause: error,
    });
  }
}

async function readEnd(file: string): Promise<Uint8Array> {
  try {
    const handle = await fs.open(file, 'r');
    try {
      const { size } = await handle.stat();
      const bytes = new Uint8Array(Math.min(size, logLineBytesMax));
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, size - bytes.length);
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw unreadable(file, error);
  }
}

async function readWhole(file: string, bytesMax: number): Promise<Uint8Array> {
  try {
    const handle = await fs.open(file, 'r');
    try {
      const bytes = new Uint8Array(bytesMax + 1);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw unreadable(file, error);
  }
}

function withLineFeed(line: Uint8Array): Uint8Array {
  return Uint8Array.of(...line, 0x0a);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function unreadable(file: string, error: unknown): CaissonError {
  const isMissing = (error as { code?: unknown }).code === 'ENOENT';
  return new CaissonError(
    isMissing ? 'invalid' : 'io',
    isMissing ? 'name-missing' : 'store-io',
    `${file} cannot be read: ${messageOf(error)}`,
    { remedy: 'Check the path and the rights of the file.', cause: error },
  );
}

function changedMeanwhile(file: string): CaissonError {
  return new CaissonError('transient', 'import-source-changed', `${file} changed while it was read`, {
    remedy: 'Copy it first, then prove from the copy.',
  });
}
