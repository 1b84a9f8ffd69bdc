/** The frozen keyrings of test/vectors/keyring: each right but for the one fault its file names. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { CaissonError } from '../../src/lib/errors.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { openKeyring, readKeyringSlots } from '../../src/keys/keyring.ts';
import type { Keyring } from '../../src/keys/keyring.ts';
import { decodeKeyring, encodeSlots, joinKeyring } from '../../src/keys/keyring-format.ts';

interface Vector {
  readonly comment: string;
  readonly expect: string;
  readonly volumeId: string;
  readonly keyFile: string;
  readonly keyring: string;
  readonly body?: {
    readonly generation: number;
    readonly signingSeed: string;
    readonly labels: readonly string[];
    readonly dataKeys: readonly { readonly epoch: number; readonly key: string }[];
  };
}

const folder = new URL('../vectors/keyring/', import.meta.url);

for (const file of readdirSync(folder).filter((entry) => entry.endsWith('.json'))) {
  const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector;
  const encoded = Buffer.from(vector.keyring, 'hex');

  test(`keyring vector ${file}: ${vector.comment}`, async () => {
    const source = createKeyFileSource({ content: Buffer.from(vector.keyFile, 'hex'), random: systemRandom });
    const outcome = await attempt(() =>
      openKeyring(encoded, Buffer.from(vector.volumeId, 'hex'), source, systemRandom),
    );
    assert.equal(typeof outcome === 'string' ? outcome : 'opens', vector.expect);
    if (typeof outcome !== 'string') assertContent(outcome, vector);
    assertCanonical(encoded);
  });
}

async function attempt(open: () => Promise<Keyring>): Promise<Keyring | string> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof CaissonError) return error.code;
    throw error;
  }
}

function assertContent(keyring: Keyring, { body }: Vector): void {
  assert(body !== undefined);
  assert.equal(keyring.generation, body.generation);
  assert.equal(Buffer.from(keyring.signingSeed).toString('hex'), body.signingSeed);
  assert.deepEqual(
    keyring.slots.map((slot) => slot.label),
    body.labels,
  );
  const dataKeys = keyring.keyEpochs.map((epoch) => ({
    epoch,
    key: Buffer.from(keyring.dataKey(epoch)).toString('hex'),
  }));
  assert.deepEqual(dataKeys, body.dataKeys);
}

/** What decodes at all encodes to the same bytes, and its slots can be listed without a key. */
function assertCanonical(encoded: Uint8Array): void {
  let decoded;
  try {
    decoded = decodeKeyring(encoded);
  } catch (error) {
    assert(error instanceof CaissonError);
    assert.throws(() => readKeyringSlots(encoded), { code: error.code });
    return;
  }
  assert.equal(Buffer.compare(joinKeyring(encodeSlots(decoded.slots), decoded.sealedBody), encoded), 0);
  assert.equal(readKeyringSlots(encoded).length, decoded.slots.length);
}
