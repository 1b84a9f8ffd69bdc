/**
 * The two requests that a key source makes of a KMIP server, and what it accepts as their answers (KMIP 1.2, sections
 * 4.1, 4.11, 7). Pure. An answer to another question, of another object or with a wrapped key is refused.
 */
import { CaissonError } from '../lib/errors.ts';
import { decodeTtlv, encodeTtlv } from './kmip-ttlv.ts';
import type { TtlvItem } from './kmip-ttlv.ts';

export const Operation = { create: 1, get: 10 } as const;
export type Operation = (typeof Operation)[keyof typeof Operation];

/** Why a server refuses, as far as it makes a difference. */
export const ResultReason = { itemNotFound: 1, authenticationNotSuccessful: 3, permissionDenied: 12 } as const;

const Tag = {
  attribute: 0x420008,
  attributeName: 0x42000a,
  attributeValue: 0x42000b,
  batchCount: 0x42000d,
  batchItem: 0x42000f,
  keyBlock: 0x420040,
  keyFormatType: 0x420042,
  keyMaterial: 0x420043,
  keyValue: 0x420045,
  keyWrappingData: 0x420046,
  nameType: 0x420054,
  nameValue: 0x420055,
  objectType: 0x420057,
  operation: 0x42005c,
  protocolVersion: 0x420069,
  protocolMajor: 0x42006a,
  protocolMinor: 0x42006b,
  requestHeader: 0x420077,
  requestMessage: 0x420078,
  requestPayload: 0x420079,
  responseHeader: 0x42007a,
  responseMessage: 0x42007b,
  responsePayload: 0x42007c,
  resultMessage: 0x42007d,
  resultReason: 0x42007e,
  resultStatus: 0x42007f,
  symmetricKey: 0x42008f,
  templateAttribute: 0x420091,
  uniqueIdentifier: 0x420094,
} as const;

const symmetricKey = 2;
const rawFormat = 1;
const aes = 3;
/** Derive Key: all that is done with it here. Servers that want more are content with Encrypt and Decrypt. */
const usageMask = 0x200 | 4 | 8;

/** The server said no. */
export class KmipRefusal extends Error {
  readonly reason: number;

  constructor(reason: number, message: string) {
    super(message);
    this.name = 'KmipRefusal';
    this.reason = reason;
  }
}

/** A new AES key of 256 bits under this name. */
export function encodeCreate(name: string): Uint8Array {
  const attribute = (attributeName: string, value: TtlvItem): TtlvItem =>
    structure(Tag.attribute, [{ tag: Tag.attributeName, type: 'text', value: attributeName }, value]);
  const tag = Tag.attributeValue;
  return encodeRequest(Operation.create, [
    { tag: Tag.objectType, type: 'enumeration', value: symmetricKey },
    structure(Tag.templateAttribute, [
      attribute('Cryptographic Algorithm', { tag, type: 'enumeration', value: aes }),
      attribute('Cryptographic Length', { tag, type: 'integer', value: 256 }),
      attribute('Cryptographic Usage Mask', { tag, type: 'integer', value: usageMask }),
      attribute(
        'Name',
        structure(tag, [
          { tag: Tag.nameValue, type: 'text', value: name },
          { tag: Tag.nameType, type: 'enumeration', value: 1 },
        ]),
      ),
    ]),
  ]);
}

export function encodeGet(id: string): Uint8Array {
  return encodeRequest(Operation.get, [
    { tag: Tag.uniqueIdentifier, type: 'text', value: id },
    { tag: Tag.keyFormatType, type: 'enumeration', value: rawFormat },
  ]);
}

/** The identifier of the new key. */
export function decodeCreated(answer: Uint8Array): string {
  return textIn(payloadOf(answer, Operation.create), Tag.uniqueIdentifier);
}

/** The bytes of the key with this identifier; the caller wipes them. */
export function decodeKey(answer: Uint8Array, id: string): Uint8Array {
  const payload = payloadOf(answer, Operation.get);
  if (textIn(payload, Tag.uniqueIdentifier) !== id) throw invalid('is about another object');
  if (numberIn(payload, Tag.objectType) !== symmetricKey) throw invalid('holds no symmetric key');
  const block = itemsIn(itemsIn(payload, Tag.symmetricKey), Tag.keyBlock);
  if (block.some(({ tag }) => tag === Tag.keyWrappingData)) throw invalid('holds a wrapped key');
  if (numberIn(block, Tag.keyFormatType) !== rawFormat) throw invalid('holds a key that is not raw');
  const material = one(itemsIn(block, Tag.keyValue), Tag.keyMaterial);
  if (material.type !== 'bytes') throw invalid('holds a key that is not bytes');
  return material.value;
}

function encodeRequest(operation: Operation, payload: readonly TtlvItem[]): Uint8Array {
  const version = structure(Tag.protocolVersion, [
    { tag: Tag.protocolMajor, type: 'integer', value: 1 },
    { tag: Tag.protocolMinor, type: 'integer', value: 2 },
  ]);
  const header = structure(Tag.requestHeader, [version, { tag: Tag.batchCount, type: 'integer', value: 1 }]);
  const item = structure(Tag.batchItem, [
    { tag: Tag.operation, type: 'enumeration', value: operation },
    structure(Tag.requestPayload, payload),
  ]);
  return encodeTtlv(structure(Tag.requestMessage, [header, item]));
}

/** Throws `KmipRefusal` where the server says no, `format-invalid` where it says something else. */
function payloadOf(answer: Uint8Array, operation: Operation): readonly TtlvItem[] {
  const message = decodeTtlv(answer);
  if (message.tag !== Tag.responseMessage || message.type !== 'structure') throw invalid('is no response');
  const header = itemsIn(message.value, Tag.responseHeader);
  if (numberIn(header, Tag.batchCount) !== 1) throw invalid('answers more than was asked');
  const item = itemsIn(message.value, Tag.batchItem);
  const status = numberIn(item, Tag.resultStatus);
  if (status !== 0) throw refusalIn(item);
  if (numberIn(item, Tag.operation) !== operation) throw invalid('answers another question');
  return itemsIn(item, Tag.responsePayload);
}

function refusalIn(item: readonly TtlvItem[]): KmipRefusal {
  const reason = item.find(({ tag }) => tag === Tag.resultReason);
  const message = item.find(({ tag }) => tag === Tag.resultMessage);
  const text = message?.type === 'text' ? message.value.replaceAll(/\p{Cc}+/gu, ' ').substring(0, 300) : '';
  return new KmipRefusal(reason?.type === 'enumeration' ? reason.value : 0, text);
}

function structure(tag: number, value: readonly TtlvItem[]): TtlvItem {
  return { tag, type: 'structure', value };
}

function one(items: readonly TtlvItem[], tag: number): TtlvItem {
  const found = items.filter((item) => item.tag === tag);
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  throw invalid(`has ${found.length} items 0x${tag.toString(16)} in the place of one`);
}

function itemsIn(items: readonly TtlvItem[], tag: number): readonly TtlvItem[] {
  const found = one(items, tag);
  if (found.type === 'structure') return found.value;
  throw invalid(`has an item 0x${tag.toString(16)} that is no structure`);
}

function textIn(items: readonly TtlvItem[], tag: number): string {
  const found = one(items, tag);
  if (found.type === 'text') return found.value;
  throw invalid(`has an item 0x${tag.toString(16)} that is no text`);
}

function numberIn(items: readonly TtlvItem[], tag: number): number {
  const found = one(items, tag);
  if (found.type === 'enumeration' || found.type === 'integer') return found.value;
  throw invalid(`has an item 0x${tag.toString(16)} that is no number`);
}

function invalid(what: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `a KMIP answer ${what}`);
}
