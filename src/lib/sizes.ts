/**
 * Sizes as people write and read them. Units are powers of 1024 whichever way they are spelled:
 * `10G`, `10GiB` and `10g` are the same size, because a block device has no other.
 */
import { CaissonError } from './errors.ts';

export const blockBytes = 4096;

const unitLetters = 'kmgtp';
const unitNames = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
const remedyText = 'Write a whole number of bytes, or a number with K, M, G or T (powers of 1024): 4096, 512M, 10GiB.';

/** Bytes of `text`; any whole number of bytes that a float64 holds exactly. */
export function parseBytes(text: string): number {
  const match = /^(\d{1,16})(?:\.(\d{1,6}))?\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
  if (match === null) throw sizeInvalid(`${JSON.stringify(text.substring(0, 40))} is not a size`, remedyText);
  const [, whole, fraction = '', unit = ''] = match;
  const factor = unit === '' ? 1 : 1024 ** (unitLetters.indexOf(unit.toLowerCase()) + 1);
  const bytes = Number(`${whole}.${fraction || '0'}`) * factor;
  if (!Number.isSafeInteger(bytes)) {
    const remedy =
      bytes > Number.MAX_SAFE_INTEGER ? 'Choose a smaller size.' : 'Choose a size that is a whole number of bytes.';
    throw sizeInvalid(`${JSON.stringify(text)} is not a whole number of bytes that can be counted exactly`, remedy);
  }
  return bytes;
}

/** The size of a volume: a positive multiple of the block. */
export function parseVolumeSize(text: string): number {
  return checkVolumeSize(parseBytes(text));
}

export function checkVolumeSize(bytes: number): number {
  if (bytes >= blockBytes && bytes % blockBytes === 0) return bytes;
  const below = Math.floor(bytes / blockBytes) * blockBytes;
  const nearest = below === 0 ? `${blockBytes}` : `${below} or ${below + blockBytes}`;
  throw sizeInvalid(
    `${bytes} bytes is not a positive multiple of ${blockBytes}`,
    `The nearest size${below === 0 ? ' is' : 's are'} ${nearest} bytes.`,
    below === 0 ? { sizeAbove: blockBytes } : { sizeBelow: below, sizeAbove: below + blockBytes },
  );
}

/** `1536` is `1.5 KiB`; at most two digits after the point, never rounded up to the next unit. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < unitNames.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = value >= 100 ? 10 : 100;
  return `${Math.floor(value * digits) / digits} ${unitNames[unit]}`;
}

function sizeInvalid(message: string, remedy: string, details: Record<string, number> = {}): CaissonError {
  return new CaissonError('invalid', 'size-invalid', message, { remedy, details });
}
