/**
 * A KMIP server in this process: it makes keys and gives them to whoever shows a certificate of its authority, and
 * misbehaves as told. The real one of the tests is PyKMIP.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { decodeTtlv, encodeTtlv } from '../../src/keys/kmip-ttlv.ts';
import type { TtlvItem } from '../../src/keys/kmip-ttlv.ts';
import type { TlsFiles } from './tls-files.ts';

export class FakeKmip {
  readonly keys = new Map<string, Buffer>();
  readonly names: string[] = [];
  /** What is sent instead of an answer. */
  fault: ((socket: tls.TLSSocket, answer: Buffer) => void) | undefined;
  /** Changes an answer before it is encoded. */
  change: (item: TtlvItem) => TtlvItem = (item) => item;
  port = 0;
  readonly #server: tls.Server;

  constructor(files: TlsFiles) {
    const read = (file: string): Buffer => fs.readFileSync(file);
    const options = {
      ...{ ca: read(files.authority), cert: read(files.server.certificate), key: read(files.server.key) },
      ...{ requestCert: true, rejectUnauthorized: true },
    };
    this.#server = tls.createServer(options, (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (request: Buffer) => {
        const answer = Buffer.from(encodeTtlv(mapped(this.#answer(decodeTtlv(request)), this.change)));
        if (this.fault === undefined) socket.write(answer);
        else this.fault(socket, answer);
      });
    });
    this.#server.on('tlsClientError', () => undefined);
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  stop(): void {
    this.#server.close();
  }

  #answer(request: TtlvItem): TtlvItem {
    const operation = numberOf(find(request, 0x42005c)[0]!);
    if (operation === 1) {
      const id = `key-${randomBytes(6).toString('hex')}`;
      this.keys.set(id, randomBytes(32));
      this.names.push(textOf(find(request, 0x420055)[0]!));
      return response(operation, 0, [
        structure(0x42007c, [
          { tag: 0x420057, type: 'enumeration', value: 2 },
          { tag: 0x420094, type: 'text', value: id },
        ]),
      ]);
    }
    const id = textOf(find(request, 0x420094)[0]!);
    const key = this.keys.get(id);
    if (key === undefined) {
      return response(operation, 1, [
        { tag: 0x42007e, type: 'enumeration', value: 1 },
        { tag: 0x42007d, type: 'text', value: `Could not locate object: ${id}` },
      ]);
    }
    const value = structure(0x420045, [{ tag: 0x420043, type: 'bytes', value: key }]);
    const block = structure(0x420040, [
      { tag: 0x420042, type: 'enumeration', value: 1 },
      value,
      { tag: 0x420028, type: 'enumeration', value: 3 },
      { tag: 0x42002a, type: 'integer', value: 256 },
    ]);
    return response(operation, 0, [
      structure(0x42007c, [
        { tag: 0x420057, type: 'enumeration', value: 2 },
        { tag: 0x420094, type: 'text', value: id },
        structure(0x42008f, [block]),
      ]),
    ]);
  }
}

function response(operation: number, status: number, rest: readonly TtlvItem[]): TtlvItem {
  const version = structure(0x420069, [
    { tag: 0x42006a, type: 'integer', value: 1 },
    { tag: 0x42006b, type: 'integer', value: 2 },
  ]);
  const header = structure(0x42007a, [
    version,
    { tag: 0x420092, type: 'date', value: 1_800_000_000n },
    { tag: 0x42000d, type: 'integer', value: 1 },
  ]);
  const item = structure(0x42000f, [
    { tag: 0x42005c, type: 'enumeration', value: operation },
    { tag: 0x42007f, type: 'enumeration', value: status },
    ...rest,
  ]);
  return structure(0x42007b, [header, item]);
}

function mapped(item: TtlvItem, change: (item: TtlvItem) => TtlvItem): TtlvItem {
  const changed = change(item);
  if (changed.type !== 'structure') return changed;
  return { ...changed, value: changed.value.map((inner) => mapped(inner, change)) };
}

function find(item: TtlvItem, tag: number): TtlvItem[] {
  const inner = item.type === 'structure' ? item.value.flatMap((part) => find(part, tag)) : [];
  return item.tag === tag ? [item, ...inner] : inner;
}

function structure(tag: number, value: readonly TtlvItem[]): TtlvItem {
  return { tag, type: 'structure', value };
}

function numberOf(item: TtlvItem): number {
  return typeof item.value === 'number' ? item.value : -1;
}

function textOf(item: TtlvItem): string {
  return typeof item.value === 'string' ? item.value : '';
}
