/** A PKCS#11 module in this process: real AES-GCM, and every return value that a token may have. The real one of the tests is SoftHSM. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { Pkcs11Failure, Pkcs11Result, TokenFlag } from '../../src/sys/pkcs11.ts';
import type { GcmCall, KeyTemplate, TokenInfo, TokenModule, TokenSession } from '../../src/sys/pkcs11.ts';

export interface FakeKey {
  readonly label: string;
  readonly id: number;
  readonly key: Buffer;
}

export class FakeToken implements TokenModule {
  infos: TokenInfo[] = [tokenInfo('hsm', 1n)];
  keys: FakeKey[] = [];
  pin = '1234';
  logins = 0;
  /** The return value of a function that is called so. */
  readonly failures = new Map<string, number>();

  tokens(): TokenInfo[] {
    this.#fail('C_GetSlotList');
    return this.infos;
  }

  withSession<Value>(_slot: bigint, secret: Uint8Array | undefined, work: (session: TokenSession) => Value): Value {
    this.#fail('C_OpenSession');
    if (secret !== undefined) {
      this.logins++;
      this.#fail('C_Login');
      if (Buffer.from(secret).toString() !== this.pin) throw new Pkcs11Failure('C_Login', Pkcs11Result.pinIncorrect);
    }
    return work({
      findAesKeys: (template) => this.#find(template),
      encryptGcm: (key, call) => this.#encrypt(key, call),
      decryptGcm: (key, call) => this.#decrypt(key, call),
    });
  }

  #find({ label, id }: KeyTemplate): bigint[] {
    const fits = (key: FakeKey): boolean =>
      (label === undefined || key.label === Buffer.from(label).toString()) && (id === undefined || key.id === id[0]);
    return this.keys.flatMap((key, index) => (fits(key) ? [BigInt(index)] : [])).slice(0, 2);
  }

  #encrypt(handle: bigint, { nonce, additional, input }: GcmCall): Uint8Array {
    this.#fail('C_EncryptInit');
    const cipher = createCipheriv('aes-256-gcm', this.keys[Number(handle)]!.key, nonce);
    cipher.setAAD(additional);
    return Buffer.concat([cipher.update(input), cipher.final(), cipher.getAuthTag()]);
  }

  #decrypt(handle: bigint, { nonce, additional, input }: GcmCall): Uint8Array {
    this.#fail('C_Decrypt');
    const decipher = createDecipheriv('aes-256-gcm', this.keys[Number(handle)]!.key, nonce);
    decipher.setAAD(additional);
    decipher.setAuthTag(input.subarray(-16));
    try {
      return Buffer.concat([decipher.update(input.subarray(0, -16)), decipher.final()]);
    } catch {
      throw new Pkcs11Failure('C_Decrypt', Pkcs11Result.encryptedDataInvalid);
    }
  }

  #fail(call: string): void {
    const result = this.failures.get(call);
    if (result !== undefined) throw new Pkcs11Failure(call, result);
  }
}

export function tokenInfo(label: string, slot: bigint, flags: number = TokenFlag.loginRequired): TokenInfo {
  return { slot, label, manufacturer: 'Caisson', model: 'test', serial: `serial-${slot}`, flags };
}
