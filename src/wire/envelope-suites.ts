/** The suites of envelopes: names, HPKE numbers and lengths (spec/broker-api.md, "Envelope"). */
export const envelopeSuites = ['mlkem768-x25519', 'x25519', 'p256'] as const;
export type EnvelopeSuite = (typeof envelopeSuites)[number];

/** Hybrid: what is recorded today stays closed to the quantum computers of later. */
export const envelopeSuiteDefault: EnvelopeSuite = 'mlkem768-x25519';

export interface SuiteShape {
  /** Number of the KEM in the registry of HPKE. */
  readonly kem: number;
  readonly publicKeyBytes: number;
  readonly encapsulatedBytes: number;
}

export const suiteTable: Readonly<Record<EnvelopeSuite, SuiteShape>> = {
  'mlkem768-x25519': { kem: 0x647a, publicKeyBytes: 1216, encapsulatedBytes: 1120 },
  x25519: { kem: 0x0020, publicKeyBytes: 32, encapsulatedBytes: 32 },
  p256: { kem: 0x0010, publicKeyBytes: 65, encapsulatedBytes: 65 },
};
