/** The frozen vectors of test/vectors/root-rotation: settings of a broker in the middle of a rotation. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Settings } from '../../src/broker/release/root-key.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { seededBytes } from '../fuzz/seeded.ts';

export const rotationSides = ['old', 'new'] as const;
type BySide<Value> = Readonly<Record<(typeof rotationSides)[number], Value>>;

export interface RotationVector {
  readonly file: string;
  readonly comment: string;
  /** What opening by a key file gives: `opens`, `opens-old` where no rotation goes on, or the code of the refusal. */
  readonly expect: BySide<string>;
  readonly keyFiles: BySide<string>;
  readonly roots: BySide<string>;
  readonly seed?: string;
  readonly settings: Readonly<Record<string, string>>;
}

const folder = new URL('../vectors/root-rotation/', import.meta.url);

export function rotationVectors(): RotationVector[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return files.sort().map((file) => ({ ...JSON.parse(readFileSync(new URL(file, folder), 'utf8')), file }));
}

export function settingsOf(vector: RotationVector, changes: Readonly<Record<string, Uint8Array>> = {}): Settings {
  return {
    async setting(name) {
      const hex = vector.settings[name];
      return changes[name] ?? (hex === undefined ? undefined : Buffer.from(hex, 'hex'));
    },
  };
}

export function sourceOf(vector: RotationVector, side: keyof BySide<string>): KeySource {
  return createKeyFileSource({ content: Buffer.from(vector.keyFiles[side], 'hex'), random: seededBytes(1) });
}
