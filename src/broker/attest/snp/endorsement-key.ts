/**
 * The certificate of a VCEK or VLEK: what AMD says in its extensions (spec/attestation-snp.md,
 * "Endorsement keys"). Trusts nothing: signature, dates and agreement with a report are `verify.ts`.
 */
import { isCaissonError } from '../../../lib/errors.ts';
import type { CaissonError } from '../../../lib/errors.ts';
import { derTag, parseDer } from '../../../wire/der.ts';
import type { DerValue } from '../../../wire/der.ts';
import { parseCertificate, splitPem, untrusted } from '../x509/certificates.ts';
import type { Certificate, Origin } from '../x509/certificates.ts';
import { productFacts, productOfName } from './products.ts';
import type { Product, TcbComponent, TcbVersion } from './products.ts';

const arc = '1.3.6.1.4.1.3704.1';
/** 0 until Genoa, 1 of Turin, which adds the fmc. */
const structureVersionMax = 1;

const componentOids: Readonly<Record<TcbComponent, string>> = {
  bootloader: `${arc}.3.1`,
  tee: `${arc}.3.2`,
  snp: `${arc}.3.3`,
  microcode: `${arc}.3.8`,
  fmc: `${arc}.3.9`,
};
const spareOids: readonly string[] = [4, 5, 6, 7].map((spare) => `${arc}.3.${spare}`);

export interface EndorsementKey {
  readonly certificate: Certificate;
  readonly product: Product;
  readonly tcb: TcbVersion;
  /** Of a VCEK. */
  readonly hardwareId: Uint8Array | undefined;
  /** The provider of a VLEK. */
  readonly cspId: string | undefined;
}

/** `bytes`: DER, or PEM whose first certificate it is. */
export function parseEndorsementKey(bytes: Uint8Array, origin: Origin): EndorsementKey {
  const certificate = bytes[0] === derTag.sequence ? parseCertificate(bytes, origin) : splitPem(bytes, origin)[0]!;
  try {
    return readExtensions(certificate);
  } catch (error) {
    if (!isCaissonError(error, 'format-invalid')) throw error;
    throw malformedKey(origin, 'has an extension that cannot be read', error);
  }
}

function readExtensions(certificate: Certificate): EndorsementKey {
  const { origin } = certificate;
  const required = (oid: string): DerValue => {
    const value = certificate.extension(oid);
    if (value === undefined) throw malformedKey(origin, `lacks the extension ${oid}`);
    return parseDer(value);
  };
  const text = (value: DerValue): string => {
    if (value.tag !== derTag.ia5String) throw malformedKey(origin, 'has a text of the wrong kind');
    return value.text();
  };
  if (required(`${arc}.1`).number() > structureVersionMax)
    throw malformedKey(origin, 'is of a structure version that is not known');
  for (const oid of spareOids)
    if (certificate.extensions.has(oid) && required(oid).number() !== 0)
      throw malformedKey(origin, 'names a part of the firmware that is not known');
  const name = text(required(`${arc}.2`));
  const product = productOfName(name);
  if (product === undefined) throw untrusted(origin, 'vek-product', 'the endorsement key is of no known product');
  const components = Object.keys(productFacts[product].tcbLayout) as TcbComponent[];
  if (certificate.extensions.has(componentOids.fmc) && !components.includes('fmc'))
    throw malformedKey(origin, `names an fmc, which ${productFacts[product].name} does not have`);
  const cspId = certificate.extensions.has(`${arc}.5`) ? text(required(`${arc}.5`)) : undefined;
  const hardwareId = certificate.extension(`${arc}.4`);
  return {
    certificate,
    product,
    tcb: new Map(components.map((component) => [component, required(componentOids[component]).number()])),
    hardwareId: hardwareId === undefined ? undefined : hardwareIdOf(hardwareId, product, origin),
    cspId,
  };
}

/** The bare bytes, or an octet string of them: AMD has issued both. */
function hardwareIdOf(value: Uint8Array, product: Product, origin: Origin): Uint8Array {
  const length = productFacts[product].hardwareIdBytes;
  const bytes = value.length === length ? value : parseDer(value).octetString();
  if (bytes.length === length) return bytes;
  throw malformedKey(origin, `has a hardware id of ${bytes.length} bytes in place of ${length}`);
}

function malformedKey(origin: Origin, message: string, cause?: unknown): CaissonError {
  return untrusted(origin, 'vek-form', `the certificate of the endorsement key ${message}`, cause);
}
