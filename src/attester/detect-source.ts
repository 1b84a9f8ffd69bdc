/** Which evidence this machine can give: the one that was asked for, or the strongest that is there. */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { technologies } from '../wire/evidence.ts';
import type { Technology } from '../wire/evidence.ts';
import { openAzureSource } from './azure-source.ts';
import type { AzureSourceOptions } from './azure-source.ts';
import { evidenceMissing } from './evidence-source.ts';
import type { EvidenceSource } from './evidence-source.ts';
import { openGramineSource } from './gramine-source.ts';
import type { GramineOptions } from './gramine-source.ts';
import { openNitroSource } from './nitro-source.ts';
import { createPlatformFetch } from './platform-fetch.ts';
import { createTpmEvidenceSource } from './tpm-source.ts';
import { openTsmSource } from './tsm-source.ts';
import type { TsmOptions } from './tsm-source.ts';
import { withTpm } from '../tpm/tpm.ts';
import { readFacts } from '../tpm/tpm-attest.ts';

export interface DetectOptions {
  /** One technology; without it the first that is there. */
  readonly technology?: string;
  /** The TPM, as in `parseTpmDevice`. */
  readonly tpm?: string;
  readonly azure?: AzureSourceOptions;
  readonly tsm?: TsmOptions;
  readonly gramine?: GramineOptions;
}

interface Place {
  readonly name: string;
  readonly technologies: readonly Technology[];
  open(options: DetectOptions): Promise<EvidenceSource | undefined>;
}

/** The strongest first: what protects memory before what only measures a boot. */
const places: readonly Place[] = [
  {
    name: 'kernel reports (configfs-tsm)',
    technologies: ['snp', 'tdx', 'cca'],
    open: ({ tsm }) => openTsmSource(tsm),
  },
  { name: 'Gramine', technologies: ['sgx'], open: ({ gramine }) => openGramineSource(gramine) },
  { name: 'Nitro security module', technologies: ['nitro'], open: async () => openNitroSource() },
  {
    name: 'Azure paravisor',
    technologies: ['az-snp-vtpm', 'az-tdx-vtpm'],
    open: (options) => openAzureSource({ fetch: createPlatformFetch(), ...options.azure, ...deviceOf(options) }),
  },
  {
    name: 'TPM 2.0',
    technologies: ['tpm'],
    open: async (options) => {
      await withTpm(options.tpm, readFacts);
      return createTpmEvidenceSource(deviceOf(options));
    },
  },
];

/** `evidence-missing` where there is none, `argument-invalid` for a technology that does not exist. */
export async function detectSource(options: DetectOptions = {}): Promise<EvidenceSource> {
  const wanted = technologyOf(options.technology);
  const reasons: string[] = [];
  for (const place of places) {
    if (wanted !== undefined && !place.technologies.includes(wanted)) continue;
    const found = await look(place, options);
    if (typeof found === 'string') reasons.push(`${place.name}: ${found}`);
    else if (wanted === undefined || found.technology === wanted) return found;
    else reasons.push(`${place.name}: it gives ${found.technology}`);
  }
  throw evidenceMissing(
    `this machine gives no evidence${wanted === undefined ? '' : ` of ${wanted}`}: ${reasons.join('; ')}`,
    'Run in a confidential virtual machine or enclave, or give the machine a TPM; see "caisson doctor".',
  );
}

export interface PlaceReport {
  readonly name: string;
  readonly technology: Technology | undefined;
  /** What is there, or why it cannot be used. */
  readonly message: string;
  /** There, but not usable. */
  readonly isBroken: boolean;
}

/** Every place that evidence may come from, for people. */
export async function surveySources(options: DetectOptions = {}): Promise<readonly PlaceReport[]> {
  const reports: PlaceReport[] = [];
  for (const place of places) {
    try {
      const source = await place.open(options);
      const message = source?.describe ?? absent;
      reports.push({ name: place.name, technology: source?.technology, message, isBroken: false });
    } catch (error) {
      if (!(error instanceof CaissonError)) throw error;
      const isBroken = !isAbsentDevice(error);
      reports.push({ name: place.name, technology: undefined, message: isBroken ? error.message : absent, isBroken });
    }
  }
  return reports;
}

const absent = 'not there';

async function look(place: Place, options: DetectOptions): Promise<EvidenceSource | string> {
  try {
    return (await place.open(options)) ?? absent;
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    return error.message;
  }
}

/** A machine without a TPM lacks nothing that volumes need. */
function isAbsentDevice(error: CaissonError): boolean {
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return isCaissonError(error, 'tpm-failed') && (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV');
}

function technologyOf(name: string | undefined): Technology | undefined {
  if (name === undefined) return undefined;
  const known = technologies.find((technology) => technology === name);
  if (known !== undefined) return known;
  throw new CaissonError('invalid', 'argument-invalid', `there is no evidence ${JSON.stringify(name)}`, {
    remedy: `Kinds are ${technologies.join(', ')}.`,
  });
}

function deviceOf({ tpm }: DetectOptions): { readonly device?: string } {
  return tpm === undefined ? {} : { device: tpm };
}
