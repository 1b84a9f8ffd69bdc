/**
 * Questions on the terminal. A secret is read without echo, byte by byte, and never becomes part of
 * a line that a shell or a scrollback keeps.
 */
import { CaissonError } from '../lib/errors.ts';
import { passphraseBytesMax } from '../lib/limits.ts';

const Key = {
  interrupt: 3,
  end: 4,
  backspace: 8,
  newline: 10,
  carriageReturn: 13,
  eraseLine: 21,
  delete: 127,
} as const;

export function isInteractive(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** The bytes typed up to Enter; the caller wipes them. */
export async function askSecret(question: string): Promise<Uint8Array> {
  const typed = await readKeys(question, false);
  if (typed.length > 0) return typed;
  throw new CaissonError('invalid', 'argument-invalid', 'the passphrase is empty', {
    remedy: 'Type one, or give a key file.',
  });
}

/** Asked twice, since a slip of the finger would lock the volume for good. */
export async function askNewSecret(question: string): Promise<Uint8Array> {
  const first = await askSecret(`${question}: `);
  const second = await askSecret(`${question}, again: `);
  const same = first.length === second.length && first.every((byte, index) => byte === second[index]);
  second.fill(0);
  if (same) return first;
  first.fill(0);
  throw new CaissonError('invalid', 'argument-invalid', 'the two passphrases differ', {
    remedy: 'Run the command again.',
  });
}

export async function askLine(question: string): Promise<string> {
  return new TextDecoder().decode(await readKeys(question, true));
}

async function readKeys(question: string, echo: boolean): Promise<Uint8Array> {
  const { stdin, stderr } = process;
  // Echo goes off before the question shows: whoever answers at once must not see the secret.
  stdin.setRawMode(true);
  stdin.resume();
  stderr.write(question);
  const buffer = new Uint8Array(passphraseBytesMax);
  let length = 0;
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      const onData = (piece: Buffer): void => {
        for (const byte of piece) {
          if (byte === Key.newline || byte === Key.carriageReturn)
            return settle(() => resolve(buffer.slice(0, length)));
          if (byte === Key.interrupt || byte === Key.end) return settle(() => reject(cancelled()));
          if (byte === Key.backspace || byte === Key.delete) length = lengthWithoutLast(buffer, length);
          else if (byte === Key.eraseLine) length = 0;
          else if (length === buffer.length) return settle(() => reject(tooLong()));
          else buffer[length++] = byte;
          if (echo && byte >= 32 && byte !== Key.delete) stderr.write(Uint8Array.of(byte));
        }
      };
      const onEnd = (): void => settle(() => reject(cancelled()));
      const settle = (act: () => void): void => {
        stdin.off('data', onData).off('end', onEnd);
        act();
      };
      stdin.on('data', onData).on('end', onEnd);
    });
  } finally {
    buffer.fill(0);
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

/** One character of UTF-8, not one byte. */
function lengthWithoutLast(bytes: Uint8Array, length: number): number {
  let shorter = length;
  while (shorter > 0) {
    shorter -= 1;
    if (((bytes[shorter] ?? 0) & 0xc0) !== 0x80) break;
  }
  return shorter;
}

function cancelled(): CaissonError {
  return new CaissonError('closed', 'cancelled', 'cancelled');
}

function tooLong(): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `more than ${passphraseBytesMax} bytes were typed`);
}
