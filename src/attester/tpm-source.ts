/**
 * Evidence of a TPM 2.0: a quote by an attestation key that a broker has bound to the TPM (spec/attestation-tpm.md).
 *
 * The attestation key is a primary key of the endorsement hierarchy: its template and the TPM's seed give the same key
 * every time, so that it is stored nowhere and needs no handle of its own.
 */
import { encodePublic } from '../wire/tpm/public-area.ts';
import type { PublicArea } from '../wire/tpm/public-area.ts';
import { tpmHashes } from '../wire/tpm/algorithms.ts';
import { parseAttest } from '../wire/tpm/attest.ts';
import { pcrDigest } from '../wire/tpm/pcr-selection.ts';
import type { PcrBankSelection } from '../wire/tpm/pcr-selection.ts';
import { parseSignature } from '../wire/tpm/signature.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { evidencePartBytesMax } from '../lib/limits.ts';
import { equalBytes } from '../crypto/digest.ts';
import { activateCredential, quote, readPcrs } from '../tpm/tpm-attest.ts';
import { HandleRange, Hierarchy } from '../tpm/tpm-constants.ts';
import { parseTpmDevice } from '../tpm/tpm-device.ts';
import { answerInvalid } from '../tpm/tpm-errors.ts';
import { nvRead, nvReadPublic } from '../tpm/tpm-nv.ts';
import { createPrimary, readPublic } from '../tpm/tpm-objects.ts';
import type { LoadedKey } from '../tpm/tpm-objects.ts';
import { attestationKeyTemplate, endorsementEccTemplate, endorsementRsaTemplate } from '../tpm/tpm-templates.ts';
import { withTpm } from '../tpm/tpm.ts';
import type { Entity, Tpm, TpmOptions } from '../tpm/tpm.ts';
import { carriedReportData } from '../wire/report-data.ts';
import { checkReportDataLength } from './evidence-source.ts';
import type { EvidenceSource } from './evidence-source.ts';
import { nodeReportFiles } from './report-files.ts';
import type { ReportFiles } from './report-files.ts';

/** TCG EK Credential Profile, "NV Index Handles": certificates, and the chain above them. */
const rsaCertificateIndex = 0x01c0_0002;
const eccCertificateIndex = 0x01c0_000a;
const chainIndexes = { first: 0x01c0_0100, last: 0x01c0_01ff } as const;
/** Where provisioning tools keep the RSA key: saves the search for its primes. */
const persistentEndorsementKey = 0x8101_0001;
/** What firmware, boot loader and kernel measure; 16 and above belong to debuggers and to dynamic launches. */
const registersDefault: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const registersMax = 24;
/** A register that is extended between reading and signing (10 is, by IMA) makes both worthless; so often it is tried anew. */
const attemptsMax = 5;
const eventLogDefault = '/sys/kernel/security/tpm0/binary_bios_measurements';

export interface TpmSourceOptions {
  /** As in `parseTpmDevice`. */
  readonly device?: string;
  /** Ascending. */
  readonly registers?: readonly number[];
  readonly bank?: string;
  /** What the firmware wrote down; false leaves it out. */
  readonly eventLog?: string | false;
  readonly files?: ReportFiles;
  readonly tpm?: TpmOptions;
}

export function createTpmEvidenceSource(options: TpmSourceOptions = {}): EvidenceSource {
  const { device, tpm: tpmOptions = {} } = options;
  const { text } = parseTpmDevice(device);
  const bank = bankOf(options);
  return {
    technology: 'tpm',
    describe: `quotes of the TPM ${text}, registers ${bank.indexes.join(', ')} of ${bank.hash.name}`,
    prepare: () =>
      withTpm(
        device,
        async (tpm) => {
          const attestationKey = await createPrimary(tpm, Hierarchy.endorsement, attestationKeyTemplate);
          const { key, certificate } = await endorsementKeyOf(tpm);
          return {
            akPublic: encodePublic(attestationKey.area),
            ekPublic: encodePublic(key.area),
            ...(certificate === undefined ? {} : { ekCertificate: certificate }),
          };
        },
        tpmOptions,
      ),
    gather: async (reportData, credential) => {
      checkReportDataLength(reportData);
      const qualifyingData = carriedReportData('tpm', reportData);
      const eventLog = await readEventLog(options);
      return withTpm(
        device,
        async (tpm) => {
          const attestationKey = await createPrimary(tpm, Hierarchy.endorsement, attestationKeyTemplate);
          const { key, certificate, intermediates } = await endorsementKeyOf(tpm);
          const activation =
            credential === undefined ? undefined : await activateCredential(tpm, attestationKey, key, credential);
          const parts = {
            ...(await quoteParts(tpm, attestationKey, qualifyingData, bank)),
            akPublic: encodePublic(attestationKey.area),
            ...(certificate === undefined ? {} : { ekCertificate: certificate }),
            ...(intermediates === undefined ? {} : { ekIntermediates: intermediates }),
            ...(activation === undefined ? {} : { activation }),
            ...(eventLog === undefined ? {} : { eventLog }),
          };
          return { technology: 'tpm' as const, parts };
        },
        tpmOptions,
      );
    },
  };
}

/** Registers and a quote over exactly these values. */
export async function quoteParts(
  tpm: Tpm,
  attestationKey: Entity,
  qualifyingData: Uint8Array,
  bank: PcrBankSelection,
): Promise<{ readonly quote: Uint8Array; readonly signature: Uint8Array; readonly pcrs: Uint8Array }> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const values = await readPcrs(tpm, bank);
    const pcrs = Uint8Array.from(values.flatMap((value) => [...value]));
    const { attest, signature } = await quote(tpm, attestationKey, qualifyingData, [bank]);
    const { attested } = parseAttest(attest, answerInvalid);
    if (attested.type !== 'quote') throw answerInvalid('it signed something else than a quote');
    const digest = pcrDigest(parseSignature(signature, answerInvalid).hash, pcrs);
    if (equalBytes(digest, attested.pcrDigest)) return { quote: attest, signature, pcrs };
  }
  throw new CaissonError(
    'transient',
    'evidence-missing',
    'the registers of the TPM change faster than it can sign them',
    {
      remedy: 'Leave out those that change all the time, such as 10.',
    },
  );
}

interface EndorsementKey {
  readonly key: LoadedKey;
  readonly certificate: Uint8Array | undefined;
  readonly intermediates: Uint8Array | undefined;
}

/** RSA where there is a certificate for it or none at all, else ECC: what the maker certified is what a broker knows. */
async function endorsementKeyOf(tpm: Tpm): Promise<EndorsementKey> {
  const indexes = await tpm.handles(rsaCertificateIndex & 0xffff_0000);
  const isEcc = !indexes.includes(rsaCertificateIndex) && indexes.includes(eccCertificateIndex);
  const certificate = await readIndex(tpm, isEcc ? eccCertificateIndex : rsaCertificateIndex);
  const chain: number[] = [];
  for (const handle of indexes.filter((index) => index >= chainIndexes.first && index <= chainIndexes.last))
    chain.push(...((await readIndex(tpm, handle)) ?? []));
  return {
    key: isEcc ? await createPrimary(tpm, Hierarchy.endorsement, endorsementEccTemplate) : await rsaKey(tpm),
    certificate: certificate === undefined ? undefined : withoutPadding(certificate),
    intermediates: chain.length === 0 ? undefined : Uint8Array.from(chain),
  };
}

async function rsaKey(tpm: Tpm): Promise<LoadedKey> {
  if ((await tpm.handles(HandleRange.persistent)).includes(persistentEndorsementKey)) {
    const kept = await readPublic(tpm, persistentEndorsementKey);
    if (isOfTemplate(kept.area, endorsementRsaTemplate)) return kept;
  }
  return createPrimary(tpm, Hierarchy.endorsement, endorsementRsaTemplate);
}

function isOfTemplate(area: PublicArea, template: PublicArea): boolean {
  const isRsa = area.object.type === 'rsa' && template.object.type === 'rsa';
  return (
    isRsa &&
    area.attributes === template.attributes &&
    equalBytes(area.policy, template.policy) &&
    area.nameHash.id === template.nameHash.id
  );
}

async function readIndex(tpm: Tpm, handle: number): Promise<Uint8Array | undefined> {
  const index = await nvReadPublic(tpm, handle);
  return index?.isWritten === true ? nvRead(tpm, index) : undefined;
}

/** Some makers define the index larger than the certificate, which says itself how long it is. */
function withoutPadding(certificate: Uint8Array): Uint8Array {
  const isLong = certificate[0] === 0x30 && certificate[1] === 0x82;
  const length = isLong ? 4 + ((certificate[2] ?? 0) << 8) + (certificate[3] ?? 0) : certificate.length;
  return certificate.subarray(0, length);
}

async function readEventLog(options: TpmSourceOptions): Promise<Uint8Array | undefined> {
  const { device, files = nodeReportFiles } = options;
  // The log of this machine's firmware belongs to this machine's TPM.
  const { eventLog = device?.startsWith('swtpm:') === true ? false : eventLogDefault } = options;
  if (eventLog === false) return undefined;
  const log = await files.read(eventLog).catch((error: unknown) => {
    if (isCaissonError(error, 'evidence-missing')) return undefined; // nothing rests on it
    throw error;
  });
  return log === undefined || log.length === 0 || log.length > evidencePartBytesMax ? undefined : log;
}

export function bankOf({ registers = registersDefault, bank = 'sha256' }: TpmSourceOptions): PcrBankSelection {
  const hash = tpmHashes.find(({ name, isStrong }) => name === bank && isStrong);
  const isAscending = registers.every((index, at) => at === 0 || index > registers[at - 1]!);
  const isInside = registers.every((index) => Number.isInteger(index) && index >= 0 && index < registersMax);
  if (hash !== undefined && registers.length > 0 && isAscending && isInside)
    return { hash, indexes: registers, bitmapBytes: registersMax / 8 };
  throw new CaissonError(
    'invalid',
    'argument-invalid',
    `registers ${registers.join(',')} of ${bank} cannot be quoted`,
    {
      remedy: 'Name registers from 0 to 23 in ascending order, and sha256 or sha384.',
    },
  );
}
