/**
 * Evidence from a file: the JSON of `caisson policy explain` with its parts in base64, or a raw quote,
 * report, document or token, told by its first bytes. Nothing here is trusted; a verifier parses it.
 */
import { CaissonError, messageOf } from '../lib/errors.ts';
import { policyFileBytesMax } from '../lib/limits.ts';
import { checkEvidence, evidenceInvalid, evidenceParts, technologies } from '../wire/evidence.ts';
import type { Evidence, Technology } from '../wire/evidence.ts';
import { parseRequestJson } from '../wire/request-json.ts';

const snpReportBytes = 1184;
/** An object with an object of parts. */
const depthMax = 2;

/** `evidence-invalid` where the bytes are neither. `file` names them in the message. */
export function readEvidence(bytes: Uint8Array, file: string): Evidence {
  const evidence = startsLikeJson(bytes) ? fromJson(bytes, file) : fromRaw(bytes, file);
  checkEvidence(evidence);
  return evidence;
}

function startsLikeJson(bytes: Uint8Array): boolean {
  return /^\s*\{/.test(new TextDecoder('latin1').decode(bytes.subarray(0, 64)));
}

function fromJson(bytes: Uint8Array, file: string): Evidence {
  const value = jsonOf(bytes, file);
  const { technology, parts } = value;
  const known = technologies.find((one) => one === technology);
  const others = Object.keys(value).filter((name) => name !== 'technology' && name !== 'parts');
  if (known === undefined || !isRecord(parts) || others.length > 0)
    throw evidenceInvalid(
      `${file} must be {"technology": one of ${technologies.join(', ')}, "parts": {NAME: base64}}`,
      {},
    );
  const read = Object.entries(parts).map(([name, text]) => [name, fromBase64(text, name, file)] as const);
  return { technology: known, parts: Object.fromEntries(read) };
}

function jsonOf(bytes: Uint8Array, file: string): Readonly<Record<string, unknown>> {
  try {
    const value = parseRequestJson(bytes, file, { bytesMax: policyFileBytesMax, depthMax });
    if (isRecord(value)) return value;
  } catch (cause) {
    throw evidenceInvalid(messageOf(cause), {}, cause);
  }
  throw evidenceInvalid(`${file} is no JSON object`, {});
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fromBase64(text: unknown, part: string, file: string): Uint8Array {
  if (typeof text === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0)
    return new Uint8Array(Buffer.from(text, 'base64'));
  throw evidenceInvalid(`the part ${part} of ${file} is no base64`, {});
}

function fromRaw(bytes: Uint8Array, file: string): Evidence {
  const technology = recognized(bytes);
  if (technology === undefined) {
    throw new CaissonError(
      'invalid',
      'evidence-invalid',
      `${file} is no evidence that can be told by its first bytes`,
      {
        remedy: 'Give JSON: {"technology": "tpm", "parts": {"quote": "base64", ...}}.',
      },
    );
  }
  const [part = ''] = Object.keys(evidenceParts[technology]);
  return { technology, parts: { [part]: bytes } };
}

/** Of technologies whose evidence may have one part. */
function recognized(bytes: Uint8Array): Technology | undefined {
  const at = (offset: number): number => bytes[offset] ?? 0;
  const version = at(0) | (at(1) << 8);
  const isQuote = bytes.length > 432 && at(2) === 2 && at(3) === 0;
  const teeType = at(4) | (at(5) << 8) | (at(6) << 16);
  if (isQuote && version === 3) return 'sgx';
  if (isQuote && (version === 4 || version === 5)) return teeType === 0x81 ? 'tdx' : 'sgx';
  if (bytes.length === snpReportBytes && version >= 2 && version <= 5) return 'snp';
  // COSE_Sign1: an array of four, tagged 18 or not, that begins with its protected header.
  if ((at(0) === 0x84 && at(1) >> 5 === 2) || (at(0) === 0xd2 && at(1) === 0x84)) return 'nitro';
  if (at(0) === 0xd9 && at(1) === 0x01 && at(2) === 0x8f) return 'cca';
  return undefined;
}
