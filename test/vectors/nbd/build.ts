/**
 * Writes the NBD vectors. They are frozen: run this only to add one. Bytes are put together here
 * from the protocol's text, not by the product's encoder. A vector's name is its file's name; one
 * that is not "good" has exactly one fault.
 */
import { writeFileSync } from 'node:fs';

type Value = string | number | readonly (string | number)[];

const vectors: Record<string, { what: string; comment: string; hex: string; expect: Record<string, Value> | 'refused' }> = {};

function add(name: string, what: string, comment: string, hex: string, expect: Record<string, Value> | 'refused'): void {
  vectors[name] = { what, comment, hex: hex.replaceAll(' ', ''), expect };
}

const disk = '00000004 6469736b';

add('option-good', 'option', 'GO with 12 bytes of data', '49484156454f5054 00000007 0000000c', { option: 7, length: 12 });
add('option-wrong-magic', 'option', 'the last letter of the magic differs', '49484156454f5055 00000007 0000000c', 'refused');
add('info-good', 'info', 'export "disk", NAME and BLOCK_SIZE asked for', `${disk} 0002 0001 0003`, { name: 'disk', infos: [1, 3] });
add('info-good-empty', 'info', 'the default export, nothing asked for', '00000000 0000', { name: '', infos: [] });
add('info-name-past-end', 'info', 'the name is longer than the option', '00000009 6469736b 0000', 'refused');
add('info-count-past-end', 'info', 'three kinds are promised, two are there', `${disk} 0003 0001 0003`, 'refused');
add('info-trailing', 'info', 'a byte is left over', `${disk} 0000 00`, 'refused');
add('info-twice', 'info', 'one kind is asked for twice', `${disk} 0002 0003 0003`, 'refused');
add('info-not-utf8', 'info', 'the name is not UTF-8', '00000002 c328 0000', 'refused');
add('info-nul', 'info', 'the name holds a NUL', '00000003 610062 0000', 'refused');
add('info-short', 'info', 'the count is missing', disk, 'refused');
add('context-good', 'meta-context', 'one query', `${disk} 00000001 0000000f ${Buffer.from('base:allocation').toString('hex')}`, { name: 'disk', queries: ['base:allocation'] });
add('context-good-none', 'meta-context', 'no query', `${disk} 00000000`, { name: 'disk', queries: [] });
add('context-count-huge', 'meta-context', 'more queries than there can be', `${disk} ffffffff`, 'refused');
add('context-query-past-end', 'meta-context', 'the query is longer than the option', `${disk} 00000001 00000010 ${Buffer.from('base:allocation').toString('hex')}`, 'refused');
add('context-trailing', 'meta-context', 'a byte is left over', `${disk} 00000000 00`, 'refused');
add('request-good', 'request', 'a READ with FUA', '25609513 0001 0000 0102030405060708 0000000100000200 00001000', { flags: 1, command: 0, cookie: '0102030405060708', offset: 4294967808, length: 4096 });
add('request-good-far', 'request', 'an offset beyond 2^53 becomes a number beyond every volume', '25609513 0000 0004 ffffffffffffffff ffffffffffffffff ffffffff', { flags: 0, command: 4, cookie: 'ffffffffffffffff', offset: 2 ** 64, length: 4294967295 });
add('request-wrong-magic', 'request', 'the magic of a reply', '67446698 0001 0000 0102030405060708 0000000100000200 00001000', 'refused');
add('simple-reply', 'simple-reply', 'ENOSPC', '67446698 0000001c 0102030405060708', { errno: 28, cookie: '0102030405060708' });
add('chunk-header', 'chunk-header', 'OFFSET_DATA with 520 bytes of payload', '668e33ef 0001 0001 0102030405060708 00000208', { type: 1, length: 520, cookie: '0102030405060708' });
add('block-status', 'block-status', 'two alike extents are joined, the last is cut at the end of the request', '668e33ef 0001 0005 0102030405060708 00000014 00000001 00002000 00000003 00000800 00000000', { length: 10240, extents: ['4096 hole zero', '4096 hole zero', '4096'], cookie: '0102030405060708' });
add('option-reply', 'option-reply', 'ERR_UNSUP with a text', '0003e889045565a9 00000009 80000001 00000002 6e6f', { option: 9, type: 0x80000001, text: 'no' });
add('info-export', 'info-export', 'size and flags', '0000 0000010000000200 016d', { size: 2 ** 40 + 512, flags: 0x16d });
add('info-block-size', 'info-block-size', 'minimum, preferred, maximum', '0003 00000001 00001000 02000000', { sizes: [1, 4096, 33554432] });

for (const [name, vector] of Object.entries(vectors)) {
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(vector, null, 2)}\n`);
}
