/**
 * A strict stand-in for Vault's transit engine and the ways to log in: it refuses whatever the real one refuses, with
 * the same status and words as far as they matter, and fields that it does not know, which the real one ignores.
 * Its encryption is real: AES-256-GCM under a key derived from the context, with the additional data.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { TlsFiles } from './tls-files.ts';

type Fields = Record<string, unknown>;

interface TransitKey {
  readonly versions: Buffer[];
  minDecryptionVersion: number;
}

class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class FakeVault {
  readonly #server: http.Server;
  readonly #isTls: boolean;
  readonly keys = new Map<string, TransitKey>();
  /** By token, with the seconds that are left of those it was given. */
  readonly tokens = new Map<string, { ttl: number; creationTtl: number; renewable: boolean }>();
  readonly asked: { path: string; token: string | undefined; namespace: string | undefined }[] = [];
  readonly appRoles = new Map<string, string>();
  readonly serviceAccounts = new Map<string, string>();
  namespace: string | undefined;
  isSealed = false;
  leaseSeconds = 3600;
  /** Answers every request instead, where it is set. */
  fault: ((response: http.ServerResponse) => void) | undefined;
  origin = '';

  /** With files it speaks TLS, and lets those in by `auth/cert` who show a certificate of that authority. */
  constructor(files?: TlsFiles) {
    const receive = (request: http.IncomingMessage, response: http.ServerResponse): void =>
      this.#receive(request, response);
    this.#isTls = files !== undefined;
    if (files === undefined) {
      this.#server = http.createServer(receive);
      return;
    }
    const read = (file: string): Buffer => fs.readFileSync(file);
    this.#server = https.createServer(
      {
        ...{ ca: read(files.authority), cert: read(files.server.certificate), key: read(files.server.key) },
        ...{ requestCert: true, rejectUnauthorized: false },
      },
      receive,
    );
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.origin = `${this.#isTls ? 'https' : 'http'}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  addKey(name: string): void {
    this.keys.set(name, { versions: [randomBytes(32)], minDecryptionVersion: 1 });
  }

  rotate(name: string): void {
    this.keys.get(name)!.versions.push(randomBytes(32));
  }

  addToken(ttl = 3600, creationTtl = 3600, renewable = false): string {
    const token = `hvs.${randomBytes(12).toString('hex')}`;
    this.tokens.set(token, { ttl, creationTtl, renewable });
    return token;
  }

  #receive(request: http.IncomingMessage, response: http.ServerResponse): void {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      if (this.fault !== undefined) return this.fault(response);
      try {
        const path = (request.url ?? '').replace(/^\/v1\//, '');
        const { 'x-vault-token': token, 'x-vault-namespace': namespace } = request.headers;
        this.asked.push({ path, token: token as string | undefined, namespace: namespace as string | undefined });
        if (this.isSealed) throw new Refusal(503, 'Vault is sealed');
        if (this.namespace !== namespace)
          throw new Refusal(404, `no handler for route "${path}". route entry not found.`);
        const fields = request.method === 'GET' ? {} : (JSON.parse(body) as Fields);
        response.end(JSON.stringify(this.#answer(path, fields, token as string | undefined, isKnown(request))));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        response.writeHead(error.status, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ errors: [error.message] }));
      }
    });
  }

  #answer(path: string, fields: Fields, token: string | undefined, hasCertificate: boolean): Fields {
    const login = /^auth\/(.+)\/login$/.exec(path)?.[1];
    if (login !== undefined)
      return {
        auth: {
          client_token: this.#login(login, fields, hasCertificate),
          lease_duration: this.leaseSeconds,
          renewable: true,
        },
      };
    const held = this.tokens.get(token ?? '');
    if (held === undefined) throw new Refusal(403, 'permission denied');
    if (path === 'auth/token/lookup-self')
      return { data: { ttl: held.ttl, creation_ttl: held.creationTtl, renewable: held.renewable } };
    if (path === 'auth/token/renew-self') {
      held.ttl = held.creationTtl;
      return { auth: {} };
    }
    const [, mount, verb, name] = /^([\w/]+)\/(encrypt|decrypt)\/([^/]+)$/.exec(path) ?? [];
    if (mount !== 'transit') throw new Refusal(404, `no handler for route "${path}". route entry not found.`);
    const key = this.keys.get(name ?? '');
    if (key === undefined) throw new Refusal(400, 'encryption key not found');
    return verb === 'encrypt' ? this.#encrypt(key, fields) : this.#decrypt(key, fields);
  }

  #login(mount: string, fields: Fields, hasCertificate: boolean): string {
    const { role_id: roleId, secret_id: secretId, role, jwt } = fields;
    const isAppRole = mount === 'approle' && this.appRoles.get(String(roleId)) === secretId;
    const isServiceAccount = mount === 'kubernetes' && this.serviceAccounts.get(String(role)) === jwt;
    const isCertificate = mount === 'cert' && hasCertificate && (fields['name'] ?? 'volumes') === 'volumes';
    if (!isAppRole && !isServiceAccount && !isCertificate) throw new Refusal(400, 'invalid role or secret ID');
    return this.addToken();
  }

  #encrypt({ versions }: TransitKey, fields: Fields): Fields {
    const { plaintext, aad, context } = checked(fields, 'plaintext');
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', derived(versions.at(-1)!, context), nonce);
    cipher.setAAD(aad);
    const box = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    const ciphertext = `vault:v${versions.length}:${box.toString('base64')}`;
    return { data: { ciphertext, key_version: versions.length } };
  }

  #decrypt({ versions, minDecryptionVersion }: TransitKey, fields: Fields): Fields {
    const { ciphertext, aad, context } = checked(fields, 'ciphertext');
    const [, version, text] = /^vault:v(\d+):(.+)$/.exec(ciphertext.toString()) ?? [];
    const key = versions[Number(version) - 1];
    if (text === undefined || key === undefined) throw new Refusal(400, 'invalid ciphertext: no prefix');
    if (Number(version) < minDecryptionVersion)
      throw new Refusal(400, 'ciphertext or signature version is disallowed by policy (too old)');
    const box = Buffer.from(text, 'base64');
    if (box.length < 28) throw new Refusal(400, 'invalid ciphertext: too short');
    const decipher = createDecipheriv('aes-256-gcm', derived(key, context), box.subarray(0, 12));
    decipher.setAAD(aad);
    decipher.setAuthTag(box.subarray(-16));
    try {
      const plaintext = Buffer.concat([decipher.update(box.subarray(12, -16)), decipher.final()]);
      return { data: { plaintext: plaintext.toString('base64') } };
    } catch {
      throw new Refusal(400, 'cipher: message authentication failed');
    }
  }
}

function isKnown({ socket }: http.IncomingMessage): boolean {
  return socket instanceof TLSSocket && socket.authorized;
}

function checked<Name extends 'plaintext' | 'ciphertext'>(
  fields: Fields,
  content: Name,
): Record<Name | 'aad' | 'context', Buffer> {
  const known = [content, 'context', 'associated_data'];
  const stray = Object.keys(fields).find((name) => !known.includes(name));
  if (stray !== undefined) throw new Refusal(400, `unknown field ${stray}`);
  const bytes = (name: string): Buffer => {
    const text = String(fields[name]);
    const decoded = Buffer.from(text, 'base64');
    if (decoded.toString('base64') !== text) throw new Refusal(400, `failed to base64-decode ${name}`);
    return decoded;
  };
  return {
    [content]: content === 'ciphertext' ? Buffer.from(String(fields[content])) : bytes(content),
    aad: bytes('associated_data'),
    context: bytes('context'),
  } as Record<Name | 'aad' | 'context', Buffer>;
}

function derived(key: Buffer, context: Buffer): Buffer {
  return createHmac('sha256', key).update(context).digest();
}
