/**
 * Answers of a TPM that are refusals (Part 2, "Response Code Details"), as errors with the TPM's own name for each.
 * Whoever must tell them apart asks `isTpmRefusal`; nothing else of them is for programs.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import type { ErrorKind } from '../lib/errors.ts';
import type { CommandName } from './tpm-constants.ts';

/** Format one: the fault lies in a handle, a session or a parameter. By the low six bits. */
const formatOne = {
  0x01: 'ASYMMETRIC',
  0x02: 'ATTRIBUTES',
  0x03: 'HASH',
  0x04: 'VALUE',
  0x05: 'HIERARCHY',
  0x07: 'KEY_SIZE',
  0x08: 'MGF',
  0x09: 'MODE',
  0x0a: 'TYPE',
  0x0b: 'HANDLE',
  0x0c: 'KDF',
  0x0d: 'RANGE',
  0x0e: 'AUTH_FAIL',
  0x0f: 'NONCE',
  0x10: 'PP',
  0x12: 'SCHEME',
  0x15: 'SIZE',
  0x16: 'SYMMETRIC',
  0x17: 'TAG',
  0x18: 'SELECTOR',
  0x1a: 'INSUFFICIENT',
  0x1b: 'SIGNATURE',
  0x1c: 'KEY',
  0x1d: 'POLICY_FAIL',
  0x1f: 'INTEGRITY',
  0x20: 'TICKET',
  0x21: 'RESERVED_BITS',
  0x22: 'BAD_AUTH',
  0x23: 'EXPIRED',
  0x24: 'POLICY_CC',
  0x25: 'BINDING',
  0x26: 'CURVE',
  0x27: 'ECC_POINT',
} as const;

/** Format zero: the state of the TPM, or a warning. */
const formatZero = {
  0x100: 'INITIALIZE',
  0x101: 'FAILURE',
  0x103: 'SEQUENCE',
  0x120: 'DISABLED',
  0x121: 'EXCLUSIVE',
  0x124: 'AUTH_TYPE',
  0x125: 'AUTH_MISSING',
  0x126: 'POLICY',
  0x127: 'PCR',
  0x128: 'PCR_CHANGED',
  0x12d: 'UPGRADE',
  0x12e: 'TOO_MANY_CONTEXTS',
  0x12f: 'AUTH_UNAVAILABLE',
  0x130: 'REBOOT',
  0x131: 'UNBALANCED',
  0x142: 'COMMAND_SIZE',
  0x143: 'COMMAND_CODE',
  0x144: 'AUTHSIZE',
  0x145: 'AUTH_CONTEXT',
  0x146: 'NV_RANGE',
  0x147: 'NV_SIZE',
  0x148: 'NV_LOCKED',
  0x149: 'NV_AUTHORIZATION',
  0x14a: 'NV_UNINITIALIZED',
  0x14b: 'NV_SPACE',
  0x14c: 'NV_DEFINED',
  0x150: 'BAD_CONTEXT',
  0x151: 'CPHASH',
  0x152: 'PARENT',
  0x153: 'NEEDS_TEST',
  0x154: 'NO_RESULT',
  0x155: 'SENSITIVE',
  0x901: 'CONTEXT_GAP',
  0x902: 'OBJECT_MEMORY',
  0x903: 'SESSION_MEMORY',
  0x904: 'MEMORY',
  0x905: 'SESSION_HANDLES',
  0x906: 'OBJECT_HANDLES',
  0x907: 'LOCALITY',
  0x908: 'YIELDED',
  0x909: 'CANCELED',
  0x90a: 'TESTING',
  0x920: 'NV_RATE',
  0x921: 'LOCKOUT',
  0x922: 'RETRY',
  0x923: 'NV_UNAVAILABLE',
} as const;

export type TpmRefusal =
  (typeof formatOne)[keyof typeof formatOne] | (typeof formatZero)[keyof typeof formatZero] | 'REFERENCE' | 'UNKNOWN';

const formatOneBit = 0x80;
const parameterBit = 0x40;
const sessionBit = 0x800;

export function refusalOf(code: number): TpmRefusal {
  const low = code & 0xfff;
  const names: Readonly<Record<number, TpmRefusal>> = (low & formatOneBit) !== 0 ? formatOne : formatZero;
  if (low >= 0x910 && low <= 0x91e) return 'REFERENCE';
  return names[(low & formatOneBit) !== 0 ? low & 0x3f : low] ?? 'UNKNOWN';
}

/** Where the fault lies, for people: `parameter 2`, `session 1`, `handle 1`, or nothing. */
function placeOf(code: number): string {
  if ((code & formatOneBit) === 0) return '';
  const number = (code >> 8) & 0xf;
  if ((code & parameterBit) !== 0) return ` in parameter ${number}`;
  return (code & sessionBit) !== 0 ? ` in session ${number & 7}` : ` in handle ${number}`;
}

/** Asked again they may succeed, and the TPM asks for exactly that. */
export function isWorthRepeating(refusal: TpmRefusal): boolean {
  return ['RETRY', 'YIELDED', 'TESTING', 'NV_RATE'].includes(refusal);
}

const remedies: Partial<Readonly<Record<TpmRefusal, string>>> = {
  LOCKOUT:
    'The TPM refuses all tries for a while after wrong PINs; wait, or lift it with "tpm2_dictionarylockout --clear-lockout".',
  AUTH_FAIL: 'Check the PIN; repeated wrong ones lock the TPM for a while.',
  BAD_AUTH: 'The owner of this TPM has set a password: use a persistent parent key ("parent=0x81000001"), or clear it.',
  PCR_CHANGED: 'A platform register changed while the TPM was asked; try again.',
  NV_SPACE: 'List what is stored with "tpm2_getcap handles-nv-index" and remove what nobody needs.',
  NV_DEFINED: 'Another program uses this NV index; see "tpm2_nvreadpublic".',
  NV_LOCKED: 'Somebody locked this NV index until the next restart.',
  FAILURE: 'The TPM is in failure mode; restart the machine, and where it comes back replace the TPM.',
  REBOOT: 'Restart the machine.',
  INITIALIZE: 'The firmware did not start the TPM; restart the machine, or start swtpm with --flags startup-clear.',
  OBJECT_MEMORY: 'Other programs fill the memory of the TPM; use /dev/tpmrm0, which shares it.',
  SESSION_MEMORY: 'Other programs fill the memory of the TPM; use /dev/tpmrm0, which shares it.',
  HIERARCHY: 'This hierarchy of the TPM is switched off; switch it on in the firmware.',
  COMMAND_CODE: 'This TPM does not have the command; Caisson needs TPM 2.0, revision 1.38 or newer.',
};

const deniedRefusals: readonly TpmRefusal[] = [
  ...(['LOCKOUT', 'AUTH_FAIL', 'BAD_AUTH', 'POLICY_FAIL', 'NV_AUTHORIZATION', 'AUTH_UNAVAILABLE'] as const),
];
const fullRefusals: readonly TpmRefusal[] = ['NV_SPACE', 'OBJECT_MEMORY', 'SESSION_MEMORY', 'SESSION_HANDLES'];

function kindOf(refusal: TpmRefusal): ErrorKind {
  if (isWorthRepeating(refusal)) return 'transient';
  if (deniedRefusals.includes(refusal)) return 'denied';
  return fullRefusals.includes(refusal) ? 'full' : 'io';
}

export function refused(command: CommandName, code: number): CaissonError {
  const refusal = refusalOf(code);
  const name = `TPM_RC_${refusal}`;
  return new CaissonError(kindOf(refusal), 'tpm-failed', `the TPM refused ${command}: ${name}${placeOf(code)}`, {
    remedy: remedies[refusal] ?? `Look for ${name} (0x${code.toString(16)}) in the manual of this TPM.`,
    details: { command, refusal, responseCode: code },
  });
}

export function isTpmRefusal(error: unknown, ...refusals: readonly TpmRefusal[]): error is CaissonError {
  return isCaissonError(error, 'tpm-failed') && refusals.some((refusal) => error.details['refusal'] === refusal);
}

/** For readers of answers: what is no TPM 2.0 response at all. */
export function answerInvalid(message: string): CaissonError {
  return new CaissonError('io', 'tpm-failed', `the TPM gave an answer that is none: ${message}`, {
    remedy: 'Check that this is a TPM 2.0; where it is a simulator, that nothing else answers on its port.',
  });
}
