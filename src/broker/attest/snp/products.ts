/**
 * What differs between AMD's products: which CPUs they are, how a TCB version is laid out, and how long
 * their hardware id is (spec/attestation-snp.md, "Report").
 */
import { evidenceInvalid } from '../../../wire/evidence.ts';

export const products = ['milan', 'genoa', 'turin'] as const;
export type Product = (typeof products)[number];

export type TcbComponent = 'bootloader' | 'tee' | 'snp' | 'microcode' | 'fmc';

/** Security version numbers of the parts of the firmware. `fmc`: of Turin only. */
export type TcbVersion = ReadonlyMap<TcbComponent, number>;

/** Bergamo and Siena are Genoa to the key distribution service. */
const genoaLayout = { bootloader: 0, tee: 1, snp: 6, microcode: 7 } as const;

interface ProductFacts {
  /** As certificates and the key distribution service write it. */
  readonly name: string;
  readonly family: number;
  /** Ranges of CPU models, first and last. */
  readonly models: readonly (readonly [number, number])[];
  /** Which byte of a TCB version is which component; all others are zero. */
  readonly tcbLayout: Readonly<Partial<Record<TcbComponent, number>>>;
  readonly hardwareIdBytes: number;
}

export const productFacts: Readonly<Record<Product, ProductFacts>> = {
  milan: { name: 'Milan', family: 0x19, models: [[0x00, 0x0f]], tcbLayout: genoaLayout, hardwareIdBytes: 64 },
  genoa: {
    name: 'Genoa',
    family: 0x19,
    models: [
      [0x10, 0x1f],
      [0xa0, 0xaf],
    ],
    tcbLayout: genoaLayout,
    hardwareIdBytes: 64,
  },
  turin: {
    name: 'Turin',
    family: 0x1a,
    models: [[0x00, 0x1f]],
    tcbLayout: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
    hardwareIdBytes: 8,
  },
};

export const tcbBytes = 8;

export function productOfCpu(family: number, model: number): Product | undefined {
  return products.find((product) => {
    const facts = productFacts[product];
    return facts.family === family && facts.models.some(([first, last]) => model >= first && model <= last);
  });
}

/** Of `Milan-B0`, which names a stepping, as of `Milan`. */
export function productOfName(text: string): Product | undefined {
  const [name] = text.split('-', 1);
  return products.find((product) => productFacts[product].name === name);
}

/** The components of the eight bytes of a report; `field` names them in the refusal. */
export function tcbVersion(product: Product, bytes: Uint8Array, field: string): TcbVersion {
  const layout = Object.entries(productFacts[product].tcbLayout) as [TcbComponent, number][];
  const known = new Set(layout.map(([, index]) => index));
  if (bytes.some((byte, index) => byte !== 0 && !known.has(index)))
    throw evidenceInvalid(`the ${field} TCB version has a byte set that ${productFacts[product].name} keeps zero`, {
      check: 'tcb-reserved',
      field,
    });
  return new Map(layout.map(([component, index]) => [component, bytes[index]!]));
}
