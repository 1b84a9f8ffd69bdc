/**
 * A strict stand-in for AWS KMS: it checks each signature by an implementation of its own, knows the fields of Encrypt and
 * Decrypt and no others, and binds the encryption context as KMS does.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

type Fields = Record<string, unknown>;

class Refusal extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message = '', status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export class FakeKms {
  readonly #server = http.createServer((request, response) => this.#receive(request, response));
  readonly keys = new Map<string, Buffer>();
  readonly identities = new Map<
    string,
    { secret: string; sessionToken?: string; expired?: boolean; denied?: boolean }
  >();
  readonly contexts: Record<string, string>[] = [];
  readonly region = 'eu-central-1';
  fault: ((response: http.ServerResponse) => void) | undefined;
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

  #receive(request: http.IncomingMessage, response: http.ServerResponse): void {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      if (this.fault !== undefined) return this.fault(response);
      try {
        const body = Buffer.concat(pieces);
        this.#authenticate(request, body);
        const action = /^TrentService\.(Encrypt|Decrypt)$/.exec(String(request.headers['x-amz-target']))?.[1];
        if (action === undefined || request.headers['content-type'] !== 'application/x-amz-json-1.1')
          throw new Refusal('UnknownOperationException');
        const fields = JSON.parse(body.toString()) as Fields;
        response.end(JSON.stringify(action === 'Encrypt' ? this.#encrypt(fields) : this.#decrypt(fields)));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        response.writeHead(error.status, { 'content-type': 'application/x-amz-json-1.1' });
        response.end(JSON.stringify({ __type: `com.amazonaws.kms#${error.code}`, message: error.message }));
      }
    });
  }

  #authenticate({ headers, method }: http.IncomingMessage, body: Buffer): void {
    const pattern =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/kms\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/;
    const [, accessKeyId = '', date = '', region = '', names = '', signature] =
      pattern.exec(headers.authorization ?? '') ?? [];
    const identity = this.identities.get(accessKeyId);
    if (identity === undefined)
      throw new Refusal('UnrecognizedClientException', 'The security token included in the request is invalid.');
    for (const required of ['content-type', 'host', 'x-amz-date', 'x-amz-target'])
      if (!names.split(';').includes(required)) throw new Refusal('IncompleteSignatureException', required);
    const lines = names.split(';').map((name) => `${name}:${String(headers[name])}\n`);
    const canonical = `${method}\n/\n\n${lines.join('')}\n${names}\n${sha256(body)}`;
    const time = String(headers['x-amz-date']);
    const toSign = `AWS4-HMAC-SHA256\n${time}\n${date}/${region}/kms/aws4_request\n${sha256(canonical)}`;
    let key: Buffer = Buffer.from(`AWS4${identity.secret}`);
    for (const part of [date, region, 'kms', 'aws4_request']) key = createHmac('sha256', key).update(part).digest();
    const isRight = createHmac('sha256', key).update(toSign).digest('hex') === signature;
    if (!isRight || region !== this.region || headers['x-amz-security-token'] !== identity.sessionToken)
      throw new Refusal('InvalidSignatureException', 'The request signature we calculated does not match.');
    const age = Date.now() - Date.parse(time.replace(/(....)(..)(..)T(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6Z'));
    if (Math.abs(age) > 300_000) throw new Refusal('InvalidSignatureException', 'Signature expired.');
    if (identity.expired === true) throw new Refusal('ExpiredTokenException', 'The security token is expired.');
    if (identity.denied === true) throw new Refusal('AccessDeniedException', 'not authorized to perform');
  }

  #encrypt(fields: Fields): Fields {
    const { key, keyId, aad } = this.#checked(fields, 'Plaintext');
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(aad);
    const sealed = [
      cipher.update(Buffer.from(String(fields['Plaintext']), 'base64')),
      cipher.final(),
      cipher.getAuthTag(),
    ];
    // As long as a real blob is, with the name of the key in front.
    const head = Buffer.alloc(96);
    head.write(keyId);
    const blob = Buffer.concat([head, nonce, ...sealed]).toString('base64');
    return { CiphertextBlob: blob, KeyId: keyId, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
  }

  #decrypt(fields: Fields): Fields {
    const { key, keyId, aad } = this.#checked(fields, 'CiphertextBlob');
    const blob = Buffer.from(String(fields['CiphertextBlob']), 'base64');
    if (blob.length < 96 + 28) throw new Refusal('InvalidCiphertextException');
    const madeBy = blob.toString('utf8', 0, 96).replace(/\0+$/, '');
    if (!this.keys.has(madeBy)) throw new Refusal('InvalidCiphertextException');
    if (madeBy !== keyId) throw new Refusal('IncorrectKeyException');
    const decipher = createDecipheriv('aes-256-gcm', key, blob.subarray(96, 108));
    decipher.setAAD(aad);
    decipher.setAuthTag(blob.subarray(-16));
    try {
      const plaintext = Buffer.concat([decipher.update(blob.subarray(108, -16)), decipher.final()]);
      return { Plaintext: plaintext.toString('base64'), KeyId: keyId, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
    } catch {
      throw new Refusal('InvalidCiphertextException');
    }
  }

  #checked(fields: Fields, content: string): { key: Buffer; keyId: string; aad: Buffer } {
    const known = [content, 'KeyId', 'EncryptionAlgorithm', 'EncryptionContext'];
    const stray = Object.keys(fields).find((name) => !known.includes(name));
    if (stray !== undefined || known.some((name) => fields[name] === undefined))
      throw new Refusal('SerializationException', String(stray));
    const keyId = String(fields['KeyId']);
    const key = this.keys.get(keyId);
    if (key === undefined) throw new Refusal('NotFoundException', `Alias ${keyId} is not found.`);
    const context = fields['EncryptionContext'] as Record<string, string>;
    this.contexts.push(context);
    return {
      key,
      keyId,
      aad: Buffer.from(JSON.stringify(Object.entries(context).sort(([left], [right]) => (left < right ? -1 : 1)))),
    };
  }
}

function sha256(content: Buffer | string): string {
  return createHash('sha256').update(content).digest('hex');
}
