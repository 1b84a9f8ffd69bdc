/**
 * The source of a volume without protection: a key that everyone knows (spec/keys.md, section 5.3).
 * Such a volume still signs its manifests, so it has a keyring like any other; it has no secrecy.
 */
import { CaissonError } from '../lib/errors.ts';
import { keyBytes } from '../crypto/sealer.ts';
import type { KeySource } from './key-source.ts';

export const noneSource: KeySource = {
  kind: 'none',
  describe: 'no protection: anyone can open this volume',
  async enroll() {
    return { parameters: new Uint8Array(0), key: new Uint8Array(keyBytes) };
  },
  async derive(parameters) {
    if (parameters.length !== 0)
      throw new CaissonError('integrity', 'format-invalid', 'a slot without protection has no parameters');
    return new Uint8Array(keyBytes);
  },
};
