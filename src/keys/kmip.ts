/**
 * A KMIP server as a key source (spec/keys.md, section 5.9): the server makes a key for each slot and keeps it. wrapped =
 * the unique identifier of that key. Both sides show certificates; every question has a connection of its own.
 */
import tls from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { keyServiceAnswerBytesMax, keyServiceMillisecondsMax } from '../lib/limits.ts';
import type { HeldKeySource } from './key-source.ts';
import { invalidKeyUrl, requiredOption } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import { decodeCreated, decodeKey, encodeCreate, encodeGet, KmipRefusal, ResultReason } from './kmip-messages.ts';
import { ttlvHeadBytes, ttlvLengthOf } from './kmip-ttlv.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { readSecretFile } from './secret-file.ts';
import { serviceAway, serviceRefuses, wrongWrap } from './service-errors.ts';
import { invalidParameters, useText, wrappedKeySource } from './wrapped-key.ts';

const portDefault = 5696;
const idPattern = /^[\x20-\x7e]{1,128}$/;

export function createKmipSource(url: KeyUrl, { clock, random }: KeySourceContext): HeldKeySource {
  const server = new KmipServer(url, clock);
  return wrappedKeySource(
    {
      kind: 'kmip',
      describe: `KMIP ${server.address}`,
      async wrap(use) {
        const name = `${useText(use)} ${toHex(random.bytes(8))}`;
        const id = await server.ask(encodeCreate(name), decodeCreated);
        if (!idPattern.test(id)) throw serviceAway('kmip', 'it names its new key in a way that no slot can hold');
        return { wrapped: new TextEncoder().encode(id), secret: await getKey(server, id) };
      },
      async unwrap(wrapped) {
        const id = new TextDecoder().decode(wrapped);
        if (!idPattern.test(id)) throw invalidParameters('kmip', 'hold no identifier');
        return getKey(server, id);
      },
    },
    random,
  );
}

function getKey(server: KmipServer, id: string): Promise<Uint8Array> {
  return server.ask(encodeGet(id), (answer) => decodeKey(answer, id));
}

class KmipServer {
  readonly address: string;
  readonly #url: KeyUrl;
  readonly #clock: Clock;
  readonly #host: string;
  readonly #port: number;

  constructor(url: KeyUrl, clock: Clock) {
    const [, bracketed, plain, port] =
      /^(?:\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(url.body) ?? [];
    const host = bracketed ?? plain;
    if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65535)
      throw invalidKeyUrl('kmip', 'it names no server', 'Write kmip:host:5696?cert-file=…&key-file=…&ca-file=….');
    for (const name of ['cert-file', 'key-file', 'ca-file']) requiredOption(url, name);
    this.#url = url;
    this.#clock = clock;
    this.#host = host;
    this.#port = Number(port ?? portDefault);
    this.address = url.body.replace(/^\/\//, '');
  }

  async ask<Value>(request: Uint8Array, decode: (answer: Uint8Array) => Value): Promise<Value> {
    const answer = await this.#exchange(request);
    try {
      return decode(answer);
    } catch (error) {
      if (error instanceof KmipRefusal) throw refusalError(error);
      if (isCaissonError(error, 'format-invalid')) throw serviceAway('kmip', error.message, { cause: error });
      throw error;
    } finally {
      answer.fill(0);
    }
  }

  #exchange(request: Uint8Array): Promise<Uint8Array> {
    const options = this.#tlsOptions();
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        cancel();
        socket?.destroy();
        const known = error instanceof CaissonError ? error : undefined;
        reject(known ?? serviceAway('kmip', `${this.address}: ${messageOf(error)}`, { cause: error }));
      };
      const cancel = this.#clock.after(keyServiceMillisecondsMax, () =>
        fail(serviceAway('kmip', `${this.address} did not answer within ${keyServiceMillisecondsMax / 1000} s`)),
      );
      let socket: tls.TLSSocket | undefined;
      try {
        socket = tls.connect(options);
      } catch (error) {
        // A certificate or key file that is none.
        return fail(error);
      }
      const connected = socket;
      const collected = new Collected();
      connected.on('error', fail);
      connected.on('close', () => fail(serviceAway('kmip', `${this.address} ended the connection without an answer`)));
      connected.on('secureConnect', () => connected.write(request));
      connected.on('data', (piece: Buffer) => {
        try {
          const answer = collected.add(piece);
          if (answer === undefined) return;
          cancel();
          connected.destroy();
          resolve(answer);
        } catch (error) {
          fail(error);
        }
      });
    });
  }

  /** Read for every question, since certificates are replaced. */
  #tlsOptions(): tls.ConnectionOptions {
    const { options } = this.#url;
    const file = (name: string, what: string): Buffer =>
      Buffer.from(readSecretFile(requiredOption(this.#url, name), what));
    const name = options.get('server-name') ?? (/^[\d.]+$|:/.test(this.#host) ? undefined : this.#host);
    return {
      host: this.#host,
      port: this.#port,
      ca: file('ca-file', 'the authority'),
      cert: file('cert-file', 'the certificate'),
      key: file('key-file', 'the key of the certificate'),
      minVersion: 'TLSv1.2',
      ...(name === undefined ? {} : { servername: name }),
    };
  }
}

/** One message, however the network cuts it; never more than its bound. */
class Collected {
  #bytes = Buffer.alloc(0);

  add(piece: Buffer): Uint8Array | undefined {
    if (this.#bytes.length + piece.length > keyServiceAnswerBytesMax) throw tooLong();
    this.#bytes = Buffer.concat([this.#bytes, piece]);
    piece.fill(0);
    if (this.#bytes.length < ttlvHeadBytes) return undefined;
    const length = ttlvHeadBytes + ttlvLengthOf(this.#bytes);
    if (length > keyServiceAnswerBytesMax) throw tooLong();
    return this.#bytes.length < length ? undefined : new Uint8Array(this.#bytes);
  }
}

function refusalError({ reason, message }: KmipRefusal): CaissonError {
  if (reason === ResultReason.itemNotFound) return wrongWrap('kmip', `it has no such key: ${message}`);
  const remedy = 'Check the rights of the certificate that cert-file names.';
  if (reason === ResultReason.permissionDenied || reason === ResultReason.authenticationNotSuccessful)
    return serviceRefuses('kmip', `it does not allow this: ${message}`, remedy);
  return serviceAway('kmip', `it refuses with reason ${reason}: ${message}`);
}

function tooLong(): CaissonError {
  return serviceAway('kmip', `its answer is longer than ${keyServiceAnswerBytesMax} bytes`);
}
