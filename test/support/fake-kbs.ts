/** Evidence of the KBS protocol that tests make up: a "TD quote" of a byte that is its level, the report data, and a word. */
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { EvidenceSource } from '../../src/attester/evidence-source.ts';
import { commonClaims } from '../../src/broker/attest/verifier.ts';
import type { Verifier } from '../../src/broker/attest/verifier.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import type { TeePublicKey } from '../../src/wire/kbs/jwe.ts';

const reportDataBytes = 64;
const word = new TextEncoder().encode('genuine');

export function fakeQuote(reportData: Uint8Array, level = 7): Uint8Array {
  return new Uint8Array([level, ...reportData, ...word]);
}

export const fakeTdxVerifier: Verifier = {
  technology: 'tdx',
  definitions: [
    commonClaims.debug,
    { name: 'tdx.level', kind: 'number', mustBeJudged: true, about: 'A number.', source: 'this test' },
  ],
  async verify({ technology, parts }) {
    const quote = parts['quote'] ?? new Uint8Array(0);
    if (new TextDecoder().decode(quote.subarray(1 + reportDataBytes)) !== 'genuine')
      throw new CaissonError('integrity', 'evidence-untrusted', 'forged', { details: { check: 'signature' } });
    return {
      technology,
      reportData: quote.subarray(1, 1 + reportDataBytes),
      claims: new Map<string, number | boolean>([
        ['debug', false],
        ['tdx.level', quote[0] ?? 0],
      ]),
      basis: [{ name: 'root', value: 'fake' }],
    };
  },
};

export function fakeTdxSource(level = 7): EvidenceSource {
  return {
    technology: 'tdx',
    describe: 'evidence of a test',
    gather: async (reportData) => ({ technology: 'tdx', parts: { quote: fakeQuote(reportData, level) } }),
  };
}

export function tdxPolicyText(name: string, level = 7): string {
  return [
    'caisson-policy: 1',
    `name: ${name}`,
    'profiles:',
    '  main:',
    '    technology: tdx',
    `    rules: {tdx.level: ${level}}`,
    'release: {}',
  ].join('\n');
}

/** The key pair of a workload, as its clients write the public half. */
export function teePair(): { readonly privateKey: KeyObject; readonly jwk: TeePublicKey } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  return { privateKey, jwk: { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x, y } };
}
