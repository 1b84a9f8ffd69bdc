/** Every key source against the one suite. Passphrases run at the floor of the cost, which is still real work. */
import { systemRandom } from '../../src/crypto/random.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { noneSource } from '../../src/keys/none.ts';
import { createPassphraseSource } from '../../src/keys/passphrase.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { keySourceConformance } from './key-source.ts';

const cost = { memoryKibibytes: 64 * 1024, passes: 3, parallelism: 1 };

function passphrase(text: string): KeySource {
  return createPassphraseSource({ passphrase: new TextEncoder().encode(text), random: systemRandom, cost });
}

function keyFile(first: number): KeySource {
  const content = Uint8Array.from({ length: 32 }, (_, index) => index + first);
  return createKeyFileSource({ content, random: systemRandom });
}

keySourceConformance('passphrase', { make: () => passphrase('secret one'), makeOther: () => passphrase('secret two') });
keySourceConformance('key-file', { make: () => keyFile(1), makeOther: () => keyFile(2) });
keySourceConformance('none', { make: () => noneSource, makeOther: undefined });
