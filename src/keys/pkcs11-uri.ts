/**
 * PKCS#11 URIs (RFC 7512) as far as they name one AES key: `pkcs11:token=…;object=…?module-path=…&pin-source=…`.
 * Pure. An attribute that is unknown or given twice is an error, never ignored: it might be what tells two keys apart.
 */
import { invalidKeyUrl, percentDecoded, requiredOption } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';

export interface Pkcs11Uri {
  readonly modulePath: string;
  /** undefined: the token needs none. */
  readonly pinFile: string | undefined;
  /** What the token must be; absent fields do not matter. */
  readonly token: Readonly<Partial<Record<'label' | 'manufacturer' | 'model' | 'serial', string>>>;
  readonly slot: number | undefined;
  readonly object: string | undefined;
  readonly id: Uint8Array | undefined;
}

const attributeNames = ['token', 'manufacturer', 'model', 'serial', 'slot-id', 'object', 'id', 'type'];

export function parsePkcs11Uri(url: KeyUrl): Pkcs11Uri {
  const attributes = new Map<string, string>();
  for (const pair of url.body === '' ? [] : url.body.split(';')) {
    const equals = pair.indexOf('=');
    const name = equals < 0 ? pair : pair.substring(0, equals);
    if (!attributeNames.includes(name)) {
      throw invalidKeyUrl(
        'pkcs11',
        `there is no attribute ${JSON.stringify(name)}`,
        `Attributes are ${attributeNames.join(', ')}.`,
      );
    }
    if (attributes.has(name)) throw invalidKeyUrl('pkcs11', `the attribute ${name} is given twice`);
    if (equals < 0 || equals === pair.length - 1) throw invalidKeyUrl('pkcs11', `the attribute ${name} is empty`);
    attributes.set(name, pair.substring(equals + 1));
  }
  const text = (name: string): string | undefined => {
    const value = attributes.get(name);
    return value === undefined ? undefined : percentDecoded('pkcs11', value);
  };
  const id = attributes.get('id');
  const object = text('object');
  if (object === undefined && id === undefined)
    throw invalidKeyUrl('pkcs11', 'it names no key', 'Name the key with object=LABEL or id=%01%02.');
  const type = text('type') ?? 'secret-key';
  if (type !== 'secret-key') throw invalidKeyUrl('pkcs11', `a key of type ${type} cannot wrap; it must be secret-key`);
  const mechanism = url.options.get('mechanism') ?? 'aes-gcm';
  if (mechanism !== 'aes-gcm') throw invalidKeyUrl('pkcs11', `there is no mechanism ${mechanism}; it is aes-gcm`);
  return {
    modulePath: requiredOption(url, 'module-path'),
    pinFile: pinFileOf(url.options.get('pin-source')),
    token: definedTexts({
      label: text('token'),
      manufacturer: text('manufacturer'),
      model: text('model'),
      serial: text('serial'),
    }),
    slot: slotOf(text('slot-id')),
    object,
    id: id === undefined ? undefined : percentDecodedBytes(id),
  };
}

/** A path, or the `file:` URI that RFC 7512 prefers. */
function pinFileOf(source: string | undefined): string | undefined {
  if (source === undefined) return undefined;
  const path = source.replace(/^file:(\/\/)?/, '');
  if (path.startsWith('/')) return path;
  throw invalidKeyUrl('pkcs11', 'pin-source is no absolute path', 'Write pin-source=file:/path/of/the/pin.');
}

function slotOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw invalidKeyUrl('pkcs11', `${JSON.stringify(text)} is not the number of a slot`);
}

/** An id is bytes, which need not be UTF-8. */
function percentDecodedBytes(text: string): Uint8Array {
  if (!/^(%[0-9A-Fa-f]{2}|[^%])+$/.test(text)) throw invalidKeyUrl('pkcs11', 'id is not percent-encoded');
  return Uint8Array.from(text.match(/%..|[^%]/g) ?? [], (part) =>
    part.startsWith('%') ? Number.parseInt(part.substring(1), 16) : part.charCodeAt(0),
  );
}

function definedTexts<Name extends string>(
  texts: Readonly<Record<Name, string | undefined>>,
): Readonly<Partial<Record<Name, string>>> {
  return Object.fromEntries(Object.entries(texts).filter(([, value]) => value !== undefined)) as Partial<
    Record<Name, string>
  >;
}
