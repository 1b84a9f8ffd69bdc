/**
 * Writes the vectors of the FUSE codec into this folder: `node test/vectors/fuse/build.ts`.
 * The builder knows the layouts of spec/fuse.md by itself, not through the codec, and can lie in one
 * place at a time. The files are frozen: a change of theirs is a change of the format.
 */
import { writeFileSync } from 'node:fs';

interface Lies {
  readonly length?: number;
  readonly extensions?: number;
}

function request(opcode: number, body: Uint8Array, lies: Lies = {}): Uint8Array {
  const bytes = new Uint8Array(40 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, lies.length ?? bytes.length, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(8, 0x0123456789abcdefn, true);
  view.setBigUint64(16, 2n, true);
  view.setUint32(24, 1000, true);
  view.setUint32(28, 1000, true);
  view.setUint32(32, 4242, true);
  view.setUint16(36, lies.extensions ?? 0, true);
  bytes.set(body, 40);
  return bytes;
}

/** Fields of 4 or 8 bytes: numbers become u32, big integers u64. */
function fields(...values: (number | bigint)[]): Uint8Array {
  const bytes = new Uint8Array(values.reduce((sum: number, value) => sum + (typeof value === 'bigint' ? 8 : 4), 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const value of values) {
    if (typeof value === 'bigint') view.setBigUint64(at, value, true);
    else view.setUint32(at, value, true);
    at += typeof value === 'bigint' ? 8 : 4;
  }
  return bytes;
}

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const read = (offset: bigint, size: number): Uint8Array => fields(0n, offset, size, 0, 0n, 0, 0);

function vector(name: string, parser: string, bytes: Uint8Array, comment: string, value?: unknown): void {
  const hex = Buffer.from(bytes).toString('hex');
  const expect = value === undefined ? 'protocol-violation' : 'ok';
  const file = new URL(`${name}.json`, import.meta.url);
  writeFileSync(file, `${JSON.stringify({ comment, parser, expect, ...(value === undefined ? {} : { value }), hex }, null, 2)}\n`);
}

const header = { length: 56, opcode: 3, uniqueLow: 0x89abcdef, uniqueHigh: 0x01234567, node: 2 };
vector('header', 'header', request(3, fields(0, 0, 0n)), 'GETATTR of the file', header);
vector('header-cut', 'header', request(3, fields()).subarray(0, 39), 'one byte of the header is missing');
vector('header-long', 'header', request(3, fields(0, 0, 0n), { length: 57 }), 'the length counts a byte that was not read');
vector('header-short', 'header', request(3, fields(0, 0, 0n), { length: 55 }), 'one byte more than the length says');
vector('header-extensions', 'header', request(3, fields(0, 0, 0n), { extensions: 1 }), 'an extension nobody negotiated');

const init = { major: 7, minor: 45, readaheadBytesMax: 131072, flags: 0x73fffffb };
vector('init', 'init', request(26, join(fields(7, 45, 131072, 0x73fffffb, 0x5fd), new Uint8Array(44))), 'INIT of a kernel with flags2', init);
vector('init-old', 'init', request(26, fields(7, 31, 131072, 0x3fffffb)), 'INIT of a kernel without flags2', { ...init, minor: 31, flags: 0x3fffffb });
vector('init-cut', 'init', request(26, fields(7, 45, 131072)), 'INIT without flags');
vector('init-between', 'init', request(26, fields(7, 45, 131072, 0, 0)), 'INIT with a length between the two that exist');

vector('lookup', 'lookup', request(1, text('disk\0')), 'the one name there is', 'disk');
vector('lookup-no-end', 'lookup', request(1, text('disk')), 'no NUL at the end');
vector('lookup-two-ends', 'lookup', request(1, text('di\0sk\0')), 'a NUL inside the name');
vector('lookup-empty', 'lookup', request(1, text('\0')), 'an empty name');

vector('read', 'read', request(15, read(1048576n, 131072)), 'READ of 128 KiB at 1 MiB', { offset: 1048576, size: 131072 });
vector('read-last-offset', 'read', request(15, read(2n ** 53n - 1n, 1)), 'the largest safe offset', { offset: 2 ** 53 - 1, size: 1 });
vector('read-offset-unsafe', 'read', request(15, read(2n ** 53n, 1)), 'the first offset that is no safe integer');
vector('read-cut', 'read', request(15, read(0n, 1).subarray(0, 39)), 'one byte is missing');
vector('read-trailing', 'read', request(15, join(read(0n, 1), text('x'))), 'one byte too many');

vector('write', 'write', request(16, join(read(4096n, 5), text('hello'))), 'WRITE of five bytes', { offset: 4096, size: 5 });
vector('write-empty', 'write', request(16, read(0n, 0)), 'WRITE of nothing', { offset: 0, size: 0 });
vector('write-short', 'write', request(16, join(read(0n, 6), text('hello'))), 'the payload is one byte shorter than its size');
vector('write-long', 'write', request(16, join(read(0n, 4), text('hello'))), 'the payload is one byte longer than its size');
vector('write-cut', 'write', request(16, fields(0n, 0n, 0)), 'cut before the payload begins');

vector('allocate', 'allocate', request(43, fields(0n, 4096n, 8192n, 3, 0)), 'a hole', { offset: 4096, length: 8192, mode: 3 });
vector('allocate-length-unsafe', 'allocate', request(43, fields(0n, 0n, 2n ** 63n, 3, 0)), 'a negative length');
vector('allocate-cut', 'allocate', request(43, fields(0n, 0n, 4096n, 3)), 'the padding is missing');

vector('seek', 'seek', request(46, fields(0n, 4096n, 3, 0)), 'SEEK_DATA', { offset: 4096, whence: 3 });
vector('seek-cut', 'seek', request(46, fields(0n, 4096n, 3)), 'the padding is missing');

const attributes = join(fields(8, 0, 0n, 65536n), new Uint8Array(64));
vector('set-attributes', 'setAttributes', request(4, attributes), 'truncate to 64 KiB', { valid: 8, size: 65536 });
vector('set-attributes-huge', 'setAttributes', request(4, join(fields(8, 0, 0n, 2n ** 63n), new Uint8Array(64))), 'a size beyond every file', { valid: 8, size: -1 });
vector('set-attributes-cut', 'setAttributes', request(4, attributes.subarray(0, 84)), 'four bytes are missing');

vector('open', 'open', request(14, fields(0x8002, 0)), 'OPEN for reading and writing', 0x8002);
vector('open-trailing', 'open', request(14, fields(0x8002, 0, 0)), 'four bytes too many');

vector('forget-many', 'forgetMany', request(42, fields(2, 0, 1n, 1n, 2n, 5n)), 'two nodes', 2);
vector('forget-many-lies', 'forgetMany', request(42, fields(3, 0, 1n, 1n, 2n, 5n)), 'three are counted, two are there');
vector('forget-many-huge', 'forgetMany', request(42, fields(0xffffffff, 0)), 'a count that would overflow a 32-bit length');
