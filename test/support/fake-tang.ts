/**
 * A Tang server in this process, for what a real one never does: it answers late, with garbage, unsigned, or
 * with too much. The keys are its own; the exchange is computed as tangd does.
 */
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { p521 } from '@noble/curves/nist.js';

interface Jwk {
  kty: string;
  crv: string;
  x: string;
  y: string;
  d: string;
}

interface ServerKey {
  readonly jwk: Jwk;
  readonly key: KeyObject;
  readonly thumbprint: string;
}

export class FakeTang {
  #signing = newKey();
  #exchange = [newKey()];
  readonly #server = http.createServer((request, response) => this.#answer(request, response));
  readonly asked: string[] = [];
  /** Replaces the answer to a request whose path begins so. */
  readonly faults = new Map<string, (response: http.ServerResponse, body: string) => void>();
  /** Changes the advertisement after it was signed. */
  tamper: (advertisement: { payload: string; protected: string; signature: string }) => object = (whole) => whole;
  origin = '';

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.origin = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  get thumbprint(): string {
    return this.#signing.thumbprint;
  }

  get url(): string {
    return `tang:${this.origin}?thumbprint=${this.thumbprint}`;
  }

  /** New keys are advertised; the old exchange keys still answer. */
  rotate(): void {
    this.#signing = newKey();
    this.#exchange.unshift(newKey());
  }

  dropOldKeys(): void {
    this.#exchange.length = 1;
  }

  advertisement(signer = this.#signing, alg = 'ES512'): { payload: string; protected: string; signature: string } {
    const [exchange] = this.#exchange;
    const keys = [
      { ...publicOf(this.#signing.jwk), alg: 'ES512', key_ops: ['verify'] },
      { ...publicOf(exchange!.jwk), alg: 'ECMR', key_ops: ['deriveKey'] },
    ];
    const payload = encoded({ keys });
    const head = encoded({ alg, cty: 'jwk-set+json' });
    const options = { key: signer.key, dsaEncoding: 'ieee-p1363' as const };
    const signature = sign('sha512', Buffer.from(`${head}.${payload}`), options).toString('base64url');
    return { payload, protected: head, signature };
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      const path = request.url ?? '';
      this.asked.push(`${request.method} ${path} ${body}`);
      const fault = [...this.faults].find(([prefix]) => path.startsWith(prefix))?.[1];
      if (fault !== undefined) return fault(response, body);
      if (path === `/adv/${this.thumbprint}`) return response.end(JSON.stringify(this.tamper(this.advertisement())));
      const key = this.#exchange.find(({ thumbprint }) => path === `/rec/${thumbprint}`);
      if (key === undefined) return response.writeHead(404).end();
      return response.end(JSON.stringify(multiplied(key.jwk, JSON.parse(body) as Jwk)));
    });
  }
}

export function newKey(): ServerKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-521' });
  const jwk = privateKey.export({ format: 'jwk' }) as Jwk;
  const { crv, kty, x, y } = jwk;
  const thumbprint = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
  return { jwk, key: privateKey, thumbprint };
}

function multiplied({ d }: Jwk, { x, y }: Jwk): object {
  const point = p521.Point.fromHex(`04${hexOf(x)}${hexOf(y)}`).multiply(BigInt(`0x${hexOf(d)}`));
  const bytes = Buffer.from(point.toBytes(false));
  const [left, right] = [bytes.subarray(1, 67), bytes.subarray(67)];
  return { alg: 'ECMR', kty: 'EC', crv: 'P-521', x: left.toString('base64url'), y: right.toString('base64url') };
}

function publicOf({ kty, crv, x, y }: Jwk): object {
  return { kty, crv, x, y };
}

function hexOf(text: string): string {
  return Buffer.from(text, 'base64url').toString('hex');
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
