/**
 * A TPM that answers anything: right headers around random fields, right lengths around wrong ones. Whatever a command
 * makes of it, it is a value or a CaissonError, and comes to an end.
 */
import assert from 'node:assert/strict';
import { CaissonError } from '../../src/lib/errors.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { activateCredential, quote, readFacts, readPcrs } from '../../src/tpm/tpm-attest.ts';
import { Hierarchy } from '../../src/tpm/tpm-constants.ts';
import { nvCertify, nvRead, nvReadPublic } from '../../src/tpm/tpm-nv.ts';
import { createPrimary, getRandom, load, readPublic, seal, startSession, unseal } from '../../src/tpm/tpm-objects.ts';
import { useOf } from '../../src/tpm/tpm-session.ts';
import { sealedTemplate, storageKeyTemplate } from '../../src/tpm/tpm-templates.ts';
import { entityOf, emptyPassword, withTpm } from '../../src/tpm/tpm.ts';
import type { Tpm } from '../../src/tpm/tpm.ts';
import type { TpmTransport } from '../../src/tpm/tpm-transport.ts';
import { Algorithm, tpmHash } from '../../src/wire/tpm/algorithms.ts';
import { encodePublicArea, parsePublicArea } from '../../src/wire/tpm/public-area.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const bank = { hash: tpmHash(Algorithm.sha256)!, indexes: [0, 7], bitmapBytes: 3 };
const nothing = new Uint8Array(0);
const key = { ...entityOf(0x8000_0000), area: parsePublicArea(encodePublicArea(storageKeyTemplate)) };
const index = {
  ...{ ...entityOf(0x0180_0000), attributes: 0xffff_ffff, policy: nothing, bytes: 48, isWritten: true },
};

const commands: readonly ((tpm: Tpm, random: SeededBytes) => Promise<unknown>)[] = [
  (tpm) => tpm.handles(0x0100_0000),
  (tpm) => readFacts(tpm),
  (tpm) => readPcrs(tpm, bank),
  (tpm) => createPrimary(tpm, Hierarchy.owner, storageKeyTemplate),
  (tpm) => readPublic(tpm, 0x8100_0001),
  (tpm) => load(tpm, key, { area: key.area.encoded, secret: nothing }),
  (tpm) => unseal(tpm, key, emptyPassword),
  (tpm) => quote(tpm, key, nothing, [bank]),
  (tpm) => getRandom(tpm, 32),
  (tpm) => nvReadPublic(tpm, index.handle),
  (tpm) => nvRead(tpm, index),
  (tpm) => nvCertify(tpm, key, index, nothing),
  (tpm, random) =>
    activateCredential(tpm, key, key, { blob: random.bytes(random.below(9)), secret: Uint8Array.of(0, 1, 2) }),
  async (tpm) => {
    const session = await startSession(tpm, 'hmac', undefined);
    return seal(tpm, key, useOf(session), { template: sealedTemplate(nothing, false), secret: nothing, pin: nothing });
  },
];

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const command = commands[random.below(commands.length)]!;
    const options = { clock: systemClock, random, openTransport: async () => answering(random) };
    try {
      await withTpm('/dev/tpmrm0', (tpm) => command(tpm, random), options);
    } catch (error) {
      assert.ok(error instanceof CaissonError, `seed ${seed} iteration ${iteration}: ${String(error)}`);
      assert.notEqual(error.kind, 'bug', `seed ${seed} iteration ${iteration}: ${error.message}`);
    }
  }
}

function answering(random: SeededBytes): TpmTransport {
  return {
    send: async (command) => {
      const answer = random.bytes(10 + random.below(200));
      const view = new DataView(answer.buffer, answer.byteOffset);
      if (random.below(8) > 0) view.setUint16(0, new DataView(command.buffer, command.byteOffset).getUint16(0));
      view.setUint32(2, answer.length);
      // Refusals that ask for a repetition would take real time; the limit of repetitions has its own test.
      view.setUint32(6, random.below(8) > 0 ? 0 : 0x100 | random.below(256));
      for (let count = random.below(6); count > 0 && answer.length > 14; count--)
        view.setUint16(10 + random.below(answer.length - 12), random.below(48));
      return answer;
    },
    close: async () => undefined,
  };
}
