/**
 * Reports of the kernel's configfs-tsm (Documentation/ABI/testing/configfs-tsm-report): SEV-SNP, TDX and CCA alike.
 *
 * A folder is one request. Every write counts `generation` up; the report belongs to our request only if it went up by
 * exactly our one write, before and after all that was read. The folder is removed whatever happens.
 */
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import type { Random } from '../lib/random.ts';
import { systemRandom } from '../crypto/random.ts';
import type { Evidence, Technology } from '../wire/evidence.ts';
import { checkReportDataLength, evidenceMissing } from './evidence-source.ts';
import type { EvidenceSource } from './evidence-source.ts';
import { nodeReportFiles } from './report-files.ts';
import type { ReportFiles } from './report-files.ts';

export const tsmFolder = '/sys/kernel/config/tsm/report';
/** The firmware's log of what it measured; for policies that read it. */
const eventLogPath = '/sys/firmware/acpi/tables/data/CCEL';
/** Somebody who writes into our folder in between makes the answer worthless; that often it is asked anew. */
const attemptsMax = 3;

const providers: Readonly<Record<string, Technology>> = {
  sev_guest: 'snp',
  tdx_guest: 'tdx',
  arm_cca_guest: 'cca',
};

export interface TsmOptions {
  readonly folder?: string;
  readonly eventLog?: string;
  readonly files?: ReportFiles;
  readonly random?: Random;
}

/** Undefined where this kernel has no such reports; `evidence-missing` where they cannot be used. */
export async function openTsmSource(options: TsmOptions = {}): Promise<EvidenceSource | undefined> {
  const { folder = tsmFolder, files = nodeReportFiles } = options;
  let provider: string;
  try {
    provider = await withFolder(options, async (place) => textOf(await required(files, `${place}/provider`)));
  } catch (error) {
    const isAbsent = error instanceof CaissonError && (error.cause as NodeJS.ErrnoException)?.code === 'ENOENT';
    if (isAbsent) return undefined;
    throw error;
  }
  const technology = Object.hasOwn(providers, provider) ? providers[provider] : undefined;
  if (technology === undefined)
    throw evidenceMissing(
      `${folder} is served by ${JSON.stringify(provider)}, which Caisson does not know`,
      'Known are sev_guest, tdx_guest and arm_cca_guest.',
    );
  return {
    technology,
    describe: `${technology} reports of the kernel (${provider})`,
    gather: async (reportData) => {
      checkReportDataLength(reportData);
      return { technology, parts: await gatherParts(technology, reportData, options) };
    },
  };
}

async function gatherParts(
  technology: Technology,
  reportData: Uint8Array,
  options: TsmOptions,
): Promise<Evidence['parts']> {
  const { files = nodeReportFiles, eventLog = eventLogPath } = options;
  const { report, auxiliary } = await withFolder(options, (place) => ask(files, place, reportData));
  if (technology === 'snp') return { report, ...(auxiliary === undefined ? {} : { certificates: auxiliary }) };
  if (technology === 'cca') return { token: report };
  const log = await files.read(eventLog).catch(() => undefined); // for people only: its absence refuses nothing
  return { quote: report, ...(log === undefined || log.length === 0 ? {} : { eventLog: log }) };
}

interface TsmAnswer {
  readonly report: Uint8Array;
  /** What the host adds: the certificates of the chip. */
  readonly auxiliary: Uint8Array | undefined;
}

async function ask(files: ReportFiles, place: string, reportData: Uint8Array): Promise<TsmAnswer> {
  const generation = async (): Promise<number> => {
    const text = textOf(await required(files, `${place}/generation`));
    if (/^\d{1,15}$/.test(text)) return Number(text);
    throw evidenceMissing(`${place}/generation is no number`, 'Check what is mounted there.');
  };
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const before = await generation();
    await files.write(`${place}/inblob`, reportData);
    const report = await required(files, `${place}/outblob`);
    const auxiliary = await files.read(`${place}/auxblob`);
    if ((await generation()) !== before + 1) continue;
    if (report.length === 0) throw evidenceMissing('the kernel gave an empty report', 'Look into the kernel log.');
    return { report, auxiliary: auxiliary?.length === 0 ? undefined : auxiliary };
  }
  throw evidenceMissing(
    `somebody else writes into ${place}`,
    'Find the program that does; a report of its request is worth nothing here.',
    undefined,
    'transient',
  );
}

async function withFolder<T>(options: TsmOptions, operation: (place: string) => Promise<T>): Promise<T> {
  const { folder = tsmFolder, files = nodeReportFiles, random = systemRandom } = options;
  const place = `${folder}/caisson-${toHex(random.bytes(8))}`;
  await files.makeFolder(place);
  try {
    return await operation(place);
  } finally {
    await files.removeFolder(place).catch(() => undefined); // an empty folder of the kernel's costs nothing
  }
}

async function required(files: ReportFiles, path: string): Promise<Uint8Array> {
  const bytes = await files.read(path);
  if (bytes !== undefined) return bytes;
  throw evidenceMissing(`there is no ${path}`, 'This kernel is too old: reports need 6.7 or newer.');
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).trim();
}
