/**
 * A TPM 2.0 as a key source (spec/keys.md, section 5.10): the secret leaves this TPM only while chosen platform
 * registers (PCRs) have the values of the moment of enrolment, and where a PIN is set for whoever knows it.
 *
 * On its way between TPM and processor the secret is encrypted under a session that is salted to the parent key. The
 * slot names that key, so that somebody on the bus cannot put another one in its place when a volume is opened.
 */
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { keyBytes } from '../crypto/sealer.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { tpmPinBytesMax } from '../lib/limits.ts';
import { readPcrs } from '../tpm/tpm-attest.ts';
import { Hierarchy } from '../tpm/tpm-constants.ts';
import { parseTpmDevice } from '../tpm/tpm-device.ts';
import { isTpmRefusal } from '../tpm/tpm-errors.ts';
import {
  createPrimary,
  getRandom,
  load,
  policyAuthValue,
  policyPcr,
  readPublic,
  seal,
  startSession,
  unseal,
} from '../tpm/tpm-objects.ts';
import type { LoadedKey } from '../tpm/tpm-objects.ts';
import { registersPolicy } from '../tpm/tpm-policy.ts';
import { useOf } from '../tpm/tpm-session.ts';
import { sealedTemplate, storageKeyTemplate } from '../tpm/tpm-templates.ts';
import { withTpm } from '../tpm/tpm.ts';
import type { Tpm, TpmOptions } from '../tpm/tpm.ts';
import { tpmHashes } from '../wire/tpm/algorithms.ts';
import type { TpmHash } from '../wire/tpm/algorithms.ts';
import type { PcrBankSelection } from '../wire/tpm/pcr-selection.ts';
import type { HeldKeySource } from './key-source.ts';
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { readSecretText } from './secret-file.ts';
import { serviceAway, serviceRefuses, wrongWrap } from './service-errors.ts';
import {
  decodeTpmSlot,
  encodeTpmSlot,
  isPersistentHandle,
  primaryParent,
  registerHintBytes,
} from './tpm-slot-format.ts';
import type { TpmSlot } from './tpm-slot-format.ts';
import { wrappedKeySource } from './wrapped-key.ts';

/** Secure Boot: which keys may sign what starts this machine. */
const registersDefault = '7';
const registerCount = 24;
const pinPrefix = new TextEncoder().encode('caisson tpm pin v1\0');
const noPin = new Uint8Array(0);
/** A register that changes while a policy is built is looked at again so often. */
const attemptsMax = 3;

export function createTpmSource(url: KeyUrl, { clock, random }: KeySourceContext): HeldKeySource {
  const device = url.body === '' ? undefined : url.body;
  const { text } = parseTpmDevice(device);
  const bank = bankOf(url);
  const parent = parentOf(url);
  const pinFile = url.options.get('pin-file');
  const options: TpmOptions = { clock, random };
  const ask = async <T>(operation: (tpm: Tpm) => Promise<T>): Promise<T> => {
    try {
      return await withTpm(device, operation, options);
    } catch (error) {
      throw asServiceError(error);
    }
  };
  return wrappedKeySource(
    {
      kind: 'tpm',
      describe: `TPM ${text}, registers ${bank.indexes.join(', ')} of ${bank.hash.name}${pinFile === undefined ? '' : ', PIN'}`,
      wrap: () =>
        ask(async (tpm) => {
          // Weak randomness on either side alone gives nothing away.
          const secret = sha256(random.bytes(keyBytes), await getRandom(tpm, keyBytes));
          return { wrapped: encodeTpmSlot(await sealSecret(tpm, { bank, parent, pinFile }, secret)), secret };
        }),
      unwrap: async (wrapped) => {
        const slot = decodeTpmSlot(wrapped);
        if (slot.hasPin && pinFile === undefined)
          throw serviceRefuses('tpm', 'the slot asks for a PIN', 'Add pin-file=… to the URL.');
        return ask((tpm) => openSlot(tpm, slot, pinFile));
      },
    },
    random,
  );
}

interface SealOptions {
  readonly bank: PcrBankSelection;
  readonly parent: number;
  readonly pinFile: string | undefined;
}

async function sealSecret(tpm: Tpm, { bank, parent, pinFile }: SealOptions, secret: Uint8Array): Promise<TpmSlot> {
  const parentKey = await parentKeyOf(tpm, parent);
  const values = await readPcrs(tpm, bank);
  const hasPin = pinFile !== undefined;
  const template = sealedTemplate(registersPolicy(bank, values, hasPin), hasPin);
  const session = await startSession(tpm, 'hmac', parentKey);
  const pin = hasPin ? readPin(pinFile) : noPin;
  try {
    const sealed = await seal(tpm, parentKey, useOf(session, { command: true }), { template, secret, pin });
    const hints = values.map((value) => value.subarray(0, registerHintBytes));
    return { ...{ hasPin, bank, parent, parentName: parentKey.name, hints }, ...sealed };
  } finally {
    pin.fill(0);
  }
}

async function openSlot(tpm: Tpm, slot: TpmSlot, pinFile: string | undefined): Promise<Uint8Array> {
  const parentKey = await parentKeyOf(tpm, slot.parent);
  if (!equalBytes(parentKey.name, slot.parentName)) throw foreignTpm();
  const sealed = await load(tpm, parentKey, slot).catch((error: unknown) => {
    throw isRefusedBlob(error) ? foreignTpm(error) : error;
  });
  const pin = slot.hasPin && pinFile !== undefined ? readPin(pinFile) : noPin;
  try {
    for (let attempt = 1; ; attempt++) {
      const session = await startSession(tpm, 'policy', parentKey);
      try {
        await policyPcr(tpm, session, [slot.bank]);
        if (slot.hasPin) await policyAuthValue(tpm, session);
        return await unseal(tpm, sealed, useOf(session, { answer: true }, pin));
      } catch (error) {
        if (isTpmRefusal(error, 'POLICY_FAIL', 'PCR')) throw await registersChanged(tpm, slot, error);
        if (isTpmRefusal(error, 'AUTH_FAIL', 'BAD_AUTH')) throw wrongWrap('tpm', 'the PIN is wrong');
        if (!isTpmRefusal(error, 'PCR_CHANGED') || attempt === attemptsMax) throw error;
        await tpm.flush(session.handle);
      }
    }
  } finally {
    pin.fill(0);
  }
}

async function parentKeyOf(tpm: Tpm, parent: number): Promise<LoadedKey> {
  if (parent === primaryParent) return createPrimary(tpm, Hierarchy.owner, storageKeyTemplate);
  try {
    return await readPublic(tpm, parent);
  } catch (error) {
    if (!isTpmRefusal(error, 'HANDLE')) throw error;
    throw serviceRefuses(
      'tpm',
      `it keeps no key at 0x${parent.toString(16)}`,
      'Leave the option parent out, or name the handle of a storage key: "tpm2_getcap handles-persistent".',
      error,
    );
  }
}

/** Names the registers that are not as they were; without such a one, what was sealed asks for another policy. */
async function registersChanged(tpm: Tpm, { bank, hints }: TpmSlot, cause: unknown): Promise<CaissonError> {
  const values = await readPcrs(tpm, bank);
  const changed = bank.indexes.filter(
    (_, at) => !equalBytes(values[at]!.subarray(0, registerHintBytes), hints[at] ?? noPin),
  );
  const which = changed.length === 0 ? 'its policy' : `PCR ${changed.join(', ')} of ${bank.hash.name}`;
  return new CaissonError('denied', 'key-wrong', `the TPM gives no key: ${which} is not as it was at enrolment`, {
    remedy:
      'If this machine changed on purpose (firmware, boot settings), open the volume with another key and add this one again; otherwise find out who changed it.',
    details: { changedRegisters: changed.join(','), bank: bank.hash.name },
    cause,
  });
}

/** What a TPM says of blobs that another one made, or that were changed. */
function isRefusedBlob(error: unknown): boolean {
  const isFormat = isTpmRefusal(error, 'INTEGRITY', 'SIZE', 'VALUE', 'ATTRIBUTES', 'HASH', 'TYPE', 'SCHEME');
  return isFormat || isTpmRefusal(error, 'BINDING', 'INSUFFICIENT', 'RESERVED_BITS', 'SENSITIVE', 'KEY', 'SYMMETRIC');
}

function foreignTpm(cause?: unknown): CaissonError {
  return new CaissonError('denied', 'key-wrong', 'this TPM did not seal the key of this volume', {
    remedy: 'The volume was enrolled on another machine, or the TPM was cleared since: open it with another key.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What the TPM compares: a digest, so that a PIN may be longer than it takes. It strips zeros at the end, and so do we. */
function readPin(file: string): Uint8Array {
  const text = new TextEncoder().encode(readSecretText(file, 'the PIN'));
  if (text.length > tpmPinBytesMax)
    throw serviceRefuses('tpm', `the PIN in ${file} has more than ${tpmPinBytesMax} bytes`, 'Use a shorter PIN.');
  const digest = sha256(pinPrefix, text);
  text.fill(0);
  let length = digest.length;
  while (length > 0 && digest[length - 1] === 0) length--;
  return digest.subarray(0, length);
}

function bankOf(url: KeyUrl): PcrBankSelection {
  const text = url.options.get('pcrs') ?? registersDefault;
  const indexes = /^\d{1,2}(,\d{1,2})*$/.test(text) ? text.split(',').map(Number) : [];
  const isAscending = indexes.every((index, at) => at === 0 || index > indexes[at - 1]!);
  if (indexes.length === 0 || !isAscending || indexes.some((index) => index >= registerCount))
    throw invalidKeyUrl('tpm', `pcrs=${text} is no list of registers`, 'Write them ascending, such as pcrs=4,7,9.');
  return { hash: hashOf(url), indexes, bitmapBytes: registerCount / 8 };
}

function hashOf(url: KeyUrl): TpmHash {
  const name = url.options.get('bank') ?? 'sha256';
  const hash = tpmHashes.find((one) => one.name === name && one.isStrong);
  if (hash !== undefined) return hash;
  throw invalidKeyUrl('tpm', `bank=${name} is none that keys are sealed to`, 'Use sha256 or sha384.');
}

function parentOf(url: KeyUrl): number {
  const text = url.options.get('parent');
  if (text === undefined) return primaryParent;
  const handle = /^0x[0-9a-f]{8}$/i.test(text) ? Number(text) : 0;
  if (isPersistentHandle(handle)) return handle;
  throw invalidKeyUrl('tpm', `parent=${text} is no persistent handle`, 'For example parent=0x81000001.');
}

/** A TPM that is missing, busy or shut is a source that cannot be asked. */
function asServiceError(error: unknown): unknown {
  if (!isCaissonError(error, 'tpm-failed') && !isCaissonError(error, 'timeout')) return error;
  if (error.kind === 'integrity') return error;
  const { remedy = 'See "caisson doctor".', details } = error;
  if (error.kind === 'denied') return serviceRefuses('tpm', error.message, remedy, error);
  return serviceAway('tpm', error.message, { remedy, details, cause: error });
}
