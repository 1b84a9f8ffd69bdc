/**
 * Tpm: one conversation with a TPM 2.0. `withTpm` opens it, runs what is to be done, and leaves nothing behind: keys
 * and sessions that were loaded meanwhile are flushed, since neither a simulator nor /dev/tpm0 does that for us.
 *
 * Invariants: one command is under way at a time; what comes back under a session is checked before it is looked at;
 * every wait has its bound.
 */
import { patientClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { systemRandom } from '../crypto/random.ts';
import { sha256 } from '../crypto/digest.ts';
import { assert } from '../lib/assert.ts';
import type { Random } from '../lib/random.ts';
import { tpmCommandMillisecondsMax, tpmHandlesMax, tpmRepeatMilliseconds, tpmRepeatsMax } from '../lib/limits.ts';
import { TpmReader, TpmWriter } from '../wire/tpm/codec.ts';
import { Capability, Command, HandleRange, SessionAttribute, Tag, passwordSession } from './tpm-constants.ts';
import type { CommandName } from './tpm-constants.ts';
import { openTpmDevice, parseTpmDevice } from './tpm-device.ts';
import type { TpmDevice } from './tpm-device.ts';
import { answerInvalid, isTpmRefusal, isWorthRepeating, refusalOf, refused } from './tpm-errors.ts';
import type { SessionUse } from './tpm-session.ts';
import type { TpmTransport } from './tpm-transport.ts';

/** What a command is about: a handle, and the name that sessions vouch for. */
export interface Entity {
  readonly handle: number;
  readonly name: Uint8Array;
}

/** A session, or a plain authorization value (empty for most). */
export type Authorization = SessionUse | { readonly password: Uint8Array };

export interface TpmRequest {
  readonly command: CommandName;
  readonly entities?: readonly Entity[];
  /** For the first of the entities, in order; further ones only encrypt or audit. */
  readonly authorizations?: readonly Authorization[];
  readonly parameters?: Uint8Array;
  readonly returnsHandle?: boolean;
  readonly milliseconds?: number;
}

export interface TpmAnswer {
  /** Zero where the command returns none. */
  readonly handle: number;
  readonly parameters: TpmReader;
}

export interface TpmOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** How the device is reached; tests put their own in between. */
  readonly openTransport?: (device: TpmDevice, clock: Clock) => Promise<TpmTransport>;
}

/** No password: what hierarchies, our keys and our indexes have. */
export const emptyPassword: Authorization = { password: new Uint8Array(0) };

const nothing = new Uint8Array(0);
const headerBytes = 10;
const nonceBytesMax = 64;
const startupClear = 0;
/** Turns at devices that are not shared by the kernel: one conversation of this process after the other. */
const turns = new Map<string, Promise<unknown>>();

/** `device` as in `parseTpmDevice`. */
export async function withTpm<T>(
  device: string | undefined,
  operation: (tpm: Tpm) => Promise<T>,
  options: TpmOptions = {},
): Promise<T> {
  const place = parseTpmDevice(device);
  if (place.isShared) return converse(place, operation, options);
  const previous = turns.get(place.text) ?? Promise.resolve();
  const ours = previous.catch(() => undefined).then(() => converse(place, operation, options));
  turns.set(place.text, ours);
  try {
    return await ours;
  } finally {
    if (turns.get(place.text) === ours) turns.delete(place.text);
  }
}

async function converse<T>(
  place: TpmDevice,
  operation: (tpm: Tpm) => Promise<T>,
  { clock = patientClock, random = systemRandom, openTransport = openTpmDevice }: TpmOptions,
): Promise<T> {
  const tpm = new Tpm(place, await openTransport(place, clock), clock, random);
  try {
    await tpm.start();
    return await operation(tpm);
  } finally {
    await tpm.close();
  }
}

export class Tpm {
  readonly random: Random;
  readonly #device: TpmDevice;
  readonly #transport: TpmTransport;
  readonly #clock: Clock;
  /** Keys and sessions that this conversation loaded, in order. */
  readonly #loaded: number[] = [];
  #hasReclaimed = false;

  constructor(device: TpmDevice, transport: TpmTransport, clock: Clock, random: Random) {
    this.#device = device;
    this.#transport = transport;
    this.#clock = clock;
    this.random = random;
  }

  /** A simulator has no firmware that starts it. */
  async start(): Promise<void> {
    if (!this.#device.isSimulator) return;
    try {
      await this.run({ command: 'Startup', parameters: new TpmWriter().u16(startupClear).finish() });
    } catch (error) {
      if (!isTpmRefusal(error, 'INITIALIZE')) throw error; // it was started already
    }
  }

  async run(request: TpmRequest): Promise<TpmAnswer> {
    try {
      return await this.#runOnce(request);
    } catch (error) {
      const isFull = isTpmRefusal(error, 'OBJECT_MEMORY', 'SESSION_MEMORY', 'OBJECT_HANDLES', 'SESSION_HANDLES');
      if (!isFull || this.#device.isShared || this.#hasReclaimed) throw error;
      await this.#reclaim();
      return this.#runOnce(request);
    }
  }

  async flush(handle: number): Promise<void> {
    const at = this.#loaded.indexOf(handle);
    if (at >= 0) this.#loaded.splice(at, 1);
    await this.run({ command: 'FlushContext', parameters: new TpmWriter().u32(handle).finish() });
  }

  /** Handles from `first` on, of the same kind. */
  async handles(first: number): Promise<number[]> {
    const parameters = new TpmWriter().u32(Capability.handles).u32(first).u32(tpmHandlesMax).finish();
    const { parameters: reader } = await this.run({ command: 'GetCapability', parameters });
    reader.flag();
    if (reader.u32() !== Capability.handles) throw answerInvalid('it tells of another capability');
    const count = reader.u32();
    if (count > tpmHandlesMax) throw answerInvalid(`a list of ${count} handles`);
    const found = Array.from({ length: count }, () => reader.u32());
    reader.end();
    return found;
  }

  async close(): Promise<void> {
    try {
      if (!this.#device.isShared) for (const handle of this.#loaded.toReversed()) await this.flush(handle);
    } catch {
      // A broken connection, or a TPM that restarted: nothing is loaded any more.
    } finally {
      await this.#transport.close();
    }
  }

  async #runOnce(request: TpmRequest): Promise<TpmAnswer> {
    const { command, authorizations = [], milliseconds = tpmCommandMillisecondsMax } = request;
    for (const one of authorizations) if ('session' in one) one.session.roll();
    const { bytes, answerTag } = encodeRequest(request);
    for (let repeats = 0; ; repeats++) {
      const answer = await this.#transport.send(bytes, milliseconds);
      const code = new DataView(answer.buffer, answer.byteOffset).getUint32(6);
      if (code === 0) return this.#accept(request, answer, answerTag);
      // What a resource manager adds to the code says who refused, not what.
      const isRepeated = isWorthRepeating(refusalOf(code)) && repeats < tpmRepeatsMax;
      if (!isRepeated) throw refused(command, code & 0xffff);
      await new Promise<void>((resolve) => this.#clock.after(tpmRepeatMilliseconds, resolve));
    }
  }

  #accept(request: TpmRequest, answer: Uint8Array, answerTag: number): TpmAnswer {
    const { command, returnsHandle = false } = request;
    const reader = new TpmReader(answer, `answer to ${command}`, answerInvalid);
    const tag = reader.u16();
    reader.bytes(headerBytes - 2);
    if (tag !== answerTag) throw reader.invalid('its tag is wrong');
    const handle = returnsHandle ? reader.u32() : 0;
    if (returnsHandle) this.#loaded.push(handle);
    if (tag === Tag.noSessions) return { handle, parameters: reader };
    const parameters = reader.bytes(reader.u32());
    const plain = checkAuthorizations(request, parameters, reader);
    reader.end();
    return { handle, parameters: new TpmReader(plain, `answer to ${command}`, answerInvalid) };
  }

  /**
   * Keys and sessions that a program left which died: a simulator and /dev/tpm0 serve one program at a time, and that is us.
   */
  async #reclaim(): Promise<void> {
    this.#hasReclaimed = true;
    for (const range of [HandleRange.transient, HandleRange.loadedSession, HandleRange.savedSession]) {
      for (const handle of await this.handles(range)) {
        if (!this.#loaded.includes(handle)) {
          await this.run({ command: 'FlushContext', parameters: new TpmWriter().u32(handle).finish() });
        }
      }
    }
  }
}

function encodeRequest(request: TpmRequest): { readonly bytes: Uint8Array; readonly answerTag: number } {
  const { command, entities = [], authorizations = [] } = request;
  const parameters = encryptedParameters(request);
  const code = Command[command];
  const body = new TpmWriter();
  for (const { handle } of entities) body.u32(handle);
  if (authorizations.length > 0) {
    const names = entities.map(({ name }) => name);
    const hash = sha256(new TpmWriter().u32(code).finish(), ...names, parameters);
    const area = new TpmWriter();
    for (const one of authorizations) {
      if ('password' in one) area.u32(passwordSession).sized(nothing).u8(0).sized(one.password);
      else area.bytes(one.session.authorize(hash, one.attributes, one.authorization));
    }
    body.u32(area.finish().length).bytes(area.finish());
  }
  const rest = body.bytes(parameters).finish();
  const tag = authorizations.length > 0 ? Tag.sessions : Tag.noSessions;
  const bytes = new TpmWriter()
    .u16(tag)
    .u32(headerBytes + rest.length)
    .u32(code)
    .bytes(rest);
  return { bytes: bytes.finish(), answerTag: tag };
}

/** With the first TPM2B encrypted where a session asks for it. */
function encryptedParameters({ authorizations = [], parameters = nothing }: TpmRequest): Uint8Array {
  const use = encryptingUse(authorizations, SessionAttribute.decrypt);
  if (use === undefined) return parameters;
  const reader = new TpmReader(parameters, 'parameters', answerInvalid);
  const first = reader.sized(0xffff);
  const encrypted = use.session.encrypt(use.authorization, first);
  return new TpmWriter().sized(encrypted).bytes(reader.rest()).finish();
}

/** Checks each session of the answer; gives the parameters in the clear. */
function checkAuthorizations(request: TpmRequest, parameters: Uint8Array, reader: TpmReader): Uint8Array {
  const { command, authorizations = [] } = request;
  const hash = sha256(new TpmWriter().u32(0).u32(Command[command]).finish(), parameters);
  for (const one of authorizations) {
    const answer = { nonce: reader.sized(nonceBytesMax), attributes: reader.u8(), hmac: reader.sized(nonceBytesMax) };
    if ('session' in one) one.session.take(hash, answer, one.authorization);
  }
  const use = encryptingUse(authorizations, SessionAttribute.encrypt);
  if (use === undefined) return parameters;
  const plain = new TpmReader(parameters, `answer to ${command}`, answerInvalid);
  const first = use.session.decrypt(use.authorization, plain.sized(0xffff));
  return new TpmWriter().sized(first).bytes(plain.rest()).finish();
}

function encryptingUse(authorizations: readonly Authorization[], attribute: number): SessionUse | undefined {
  const use = authorizations.find((one) => 'session' in one && (one.attributes & attribute) !== 0);
  if (use === undefined || !('session' in use)) return undefined;
  assert(use.session.isSalted, 'a parameter is encrypted under a salted session only');
  return use;
}

/** A name that is only a handle: hierarchies, registers, sessions. */
export function entityOf(handle: number): Entity {
  return { handle, name: new TpmWriter().u32(handle).finish() };
}
