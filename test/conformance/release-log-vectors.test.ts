/** The frozen vectors of the release log, whole and in small pieces. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { verifyLogFile } from '../../src/wire/log-file.ts';
import { decodeHead } from '../../src/wire/release-log.ts';
import { inPieces } from '../support/log-file.ts';

interface Vector {
  readonly expect: string;
  readonly since?: string;
  readonly lines: readonly string[];
}

const folder = new URL('../vectors/release-log/', import.meta.url);
const names = fs.readdirSync(folder).filter((name) => name.endsWith('.json'));
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

test('there are vectors', () => assert.ok(names.length >= 25));

for (const name of names) {
  test(`release log vector ${name}`, async () => {
    const vector = JSON.parse(fs.readFileSync(new URL(name, folder), 'utf8')) as Vector;
    const since = vector.since === undefined ? undefined : decodeHead(encode(vector.since));
    const file = encode(vector.lines.map((line) => `${line}\n`).join(''));
    for (const pieceBytes of [file.length + 1, 1]) {
      const verified = verifyLogFile(inPieces(file, pieceBytes), { since });
      if (vector.expect.startsWith('holds ')) assert.equal(`holds ${(await verified).head.size}`, vector.expect);
      else await assert.rejects(verified, { code: vector.expect });
    }
  });
}
