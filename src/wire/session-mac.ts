/** MACs of session requests and of their answers (spec/broker-http.md, "Sessions"). */
import { createHmac } from 'node:crypto';
import { plainBytes, sha256Of } from '../crypto/digest.ts';
import { ByteWriter } from '../lib/byte-codec.ts';

export const sessionIdBytes = 16;
export const sessionSecretBytes = 32;
export const sessionMacBytes = 32;

export const sessionHeader = 'caisson-session';
export const sessionCounterHeader = 'caisson-counter';
export const sessionMacHeader = 'caisson-mac';

const encoder = new TextEncoder();
const requestLabel = encoder.encode('caisson session v1\0');
const answerLabel = encoder.encode('caisson session answer v1\0');

export interface SessionRequest {
  readonly id: Uint8Array;
  readonly counter: number;
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array;
}

export function requestMac(secret: Uint8Array, request: SessionRequest): Uint8Array {
  return hmac(
    secret,
    new ByteWriter()
      .bytes(requestLabel)
      .bytes(request.id, sessionIdBytes)
      .u64(request.counter)
      .block(encoder.encode(request.method))
      .block(encoder.encode(request.path))
      .bytes(sha256Of(request.body))
      .finish(),
  );
}

export function answerMac(secret: Uint8Array, macOfRequest: Uint8Array, status: number, body: Uint8Array): Uint8Array {
  return hmac(
    secret,
    new ByteWriter().bytes(answerLabel).bytes(macOfRequest, sessionMacBytes).u16(status).bytes(sha256Of(body)).finish(),
  );
}

function hmac(secret: Uint8Array, bytes: Uint8Array): Uint8Array {
  return plainBytes(createHmac('sha256', secret).update(bytes).digest());
}
