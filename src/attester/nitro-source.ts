/** Attestation documents of an AWS Nitro enclave: a request and an answer in CBOR, whose few forms are written and read here by hand. */
import type { AskNsm } from '../sys/nsm.ts';
import { openNsm } from '../sys/nsm.ts';
import { checkReportDataLength, evidenceMissing } from './evidence-source.ts';
import type { EvidenceSource } from './evidence-source.ts';

const encoder = new TextEncoder();
const cborNull = 0xf6;
const [mapType, textType, bytesType] = [5, 3, 2];

/** Undefined where this machine is no Nitro enclave. */
export function openNitroSource(ask: AskNsm | undefined = openNsm()): EvidenceSource | undefined {
  if (ask === undefined) return undefined;
  return {
    technology: 'nitro',
    describe: 'documents of the Nitro security module',
    gather: async (reportData) => {
      checkReportDataLength(reportData);
      return { technology: 'nitro', parts: { document: documentOf(ask(attestationRequest(reportData))) } };
    },
  };
}

/** {"Attestation": {"user_data": …, "nonce": null, "public_key": null}} */
export function attestationRequest(userData: Uint8Array): Uint8Array {
  return Uint8Array.of(
    ...[...head(mapType, 1), ...text('Attestation'), ...head(mapType, 3)],
    ...[...text('user_data'), ...head(bytesType, userData.length), ...userData],
    ...[...text('nonce'), cborNull, ...text('public_key'), cborNull],
  );
}

/** The document in {"Attestation": {"document": …}}; an answer {"Error": …} is told with its name. */
export function documentOf(answer: Uint8Array): Uint8Array {
  let at = 0;
  const malformed = (): Error =>
    evidenceMissing('the Nitro security module gave an answer that is none', 'Check which driver serves /dev/nsm.');
  const take = (type: number): number => {
    const initial = answer[at++] ?? 0xff;
    if (initial >> 5 !== type) throw malformed();
    const small = initial & 0x1f;
    if (small < 24) return small;
    if (small > 26) throw malformed();
    let value = 0;
    for (let count = 1 << (small - 24); count > 0; count--) value = value * 256 + (answer[at++] ?? Number.NaN);
    if (Number.isNaN(value)) throw malformed();
    return value;
  };
  const string = (type: number): Uint8Array => {
    const length = take(type);
    if (at + length > answer.length) throw malformed();
    at += length;
    return answer.subarray(at - length, at);
  };
  const name = (): string => new TextDecoder().decode(string(textType));
  if (take(mapType) !== 1) throw malformed();
  const kind = name();
  if (kind === 'Error')
    throw evidenceMissing(`the Nitro security module refused: ${name()}`, 'See the manual of the security module.');
  if (kind !== 'Attestation' || take(mapType) !== 1 || name() !== 'document') throw malformed();
  const document = Uint8Array.from(string(bytesType));
  if (document.length === 0 || at !== answer.length) throw malformed();
  return document;
}

function head(type: number, value: number): number[] {
  if (value < 24) return [(type << 5) | value];
  return value < 256 ? [(type << 5) | 24, value] : [(type << 5) | 25, value >> 8, value & 0xff];
}

function text(value: string): number[] {
  return [...head(textType, value.length), ...encoder.encode(value)];
}
