/**
 * The SEV-SNP report as the KBS protocol's clients write it: not its 1184 bytes but a JSON object of its fields,
 * from which the bytes are built again before anything is checked (spec/kbs.md, "Evidence").
 *
 * Names differ between releases of the clients; both spellings are read. What a release leaves out is zero,
 * and then the signature says whether it was.
 */
import { equalBytes } from '../../crypto/digest.ts';
import { evidenceInvalid } from '../evidence.ts';

export const snpReportBytes = 1184;

type Fields = Readonly<Record<string, unknown>>;

/** The layout of the report (AMD 56860, ATTESTATION_REPORT): offset, bytes, and the names of the field. */
const integers: readonly (readonly [offset: number, bytes: 1 | 4 | 8, ...names: string[]])[] = [
  [0x00, 4, 'version'],
  [0x04, 4, 'guest_svn'],
  [0x08, 8, 'policy'],
  [0x30, 4, 'vmpl'],
  [0x34, 4, 'sig_algo'],
  [0x40, 8, 'plat_info'],
  [0x48, 4, 'key_info', '_author_key_en'],
  [0x188, 1, 'cpuid_fam_id'],
  [0x189, 1, 'cpuid_mod_id'],
  [0x18a, 1, 'cpuid_step'],
  [0x1f8, 8, 'launch_mit_vector'],
  [0x200, 8, 'current_mit_vector'],
];

const arrays: readonly (readonly [offset: number, bytes: number, name: string])[] = [
  [0x10, 16, 'family_id'],
  [0x20, 16, 'image_id'],
  [0x50, 64, 'report_data'],
  [0x90, 48, 'measurement'],
  [0xc0, 32, 'host_data'],
  [0xe0, 48, 'id_key_digest'],
  [0x110, 48, 'author_key_digest'],
  [0x140, 32, 'report_id'],
  [0x160, 32, 'report_id_ma'],
  [0x1a0, 64, 'chip_id'],
];

const tcbs: readonly (readonly [offset: number, name: string])[] = [
  [0x38, 'current_tcb'],
  [0x180, 'reported_tcb'],
  [0x1e0, 'committed_tcb'],
  [0x1f0, 'launch_tcb'],
];

const versions: readonly (readonly [offset: number, name: string])[] = [
  [0x1e8, 'current'],
  [0x1ec, 'committed'],
];

const signatureOffset = 0x2a0;
const signaturePartBytes = 72;

/** The 1184 bytes; `evidence-invalid` where a field is missing or out of its range. */
export function rebuildSnpReport(report: unknown): Uint8Array {
  const fields = objectOf(report, 'attestation_report');
  const bytes = new Uint8Array(snpReportBytes);
  const view = new DataView(bytes.buffer);
  for (const [offset, size, ...names] of integers)
    writeInteger(view, offset, size, named(fields, names), names[0] ?? '');
  for (const [offset, size, name] of arrays) bytes.set(arrayOf(fields[name], size, name), offset);
  for (const [offset, name] of tcbs) writeTcb(bytes, offset, fields[name], name);
  for (const [offset, name] of versions) writeVersion(bytes, offset, fields, name);
  const signature = objectOf(fields['signature'], 'signature');
  bytes.set(arrayOf(signature['r'], signaturePartBytes, 'signature.r'), signatureOffset);
  bytes.set(arrayOf(signature['s'], signaturePartBytes, 'signature.s'), signatureOffset + signaturePartBytes);
  return bytes;
}

/** From this family on processors have an FMC (AMD 56860, TCB_VERSION). */
const turinFamily = 0x1a;
const familyOffset = 0x188;
/** Reports before it name no processor. */
const cpuidVersionMin = 3;
const mitigationVersionMin = 5;

/**
 * The fields, in the form that today's clients write. `evidence-invalid` for a report that has something where this
 * form has nothing: it could not be built again.
 */
export function snpReportFields(report: Uint8Array): Record<string, unknown> {
  if (report.length !== snpReportBytes) throw unwritable(`it has ${report.length} bytes`);
  const view = new DataView(report.buffer, report.byteOffset, report.byteLength);
  const version = view.getUint32(0, true);
  const hasFmc = version >= cpuidVersionMin && (report[familyOffset] ?? 0) >= turinFamily;
  const fields: Record<string, unknown> = {};
  for (const [offset, size, name] of integers) {
    const isOfNewer =
      (offset >= familyOffset && offset < familyOffset + 3 && version < cpuidVersionMin) ||
      (offset >= 0x1f8 && version < mitigationVersionMin);
    fields[name ?? ''] = isOfNewer ? null : readInteger(view, offset, size, name ?? '');
  }
  for (const [offset, size, name] of arrays) fields[name] = [...report.subarray(offset, offset + size)];
  for (const [offset, name] of tcbs) fields[name] = tcbFields(report.subarray(offset, offset + 8), hasFmc);
  for (const [offset, name] of versions) {
    const [build, minor, major] = report.subarray(offset, offset + 3);
    fields[name] = { major, minor, build };
  }
  const [r, s] = [0, signaturePartBytes].map((part) => {
    const start = signatureOffset + part;
    return [...report.subarray(start, start + signaturePartBytes)];
  });
  fields['signature'] = { r, s };
  if (equalBytes(rebuildSnpReport(fields), report)) return fields;
  throw unwritable('a reserved part of it is not zero');
}

function readInteger(view: DataView, offset: number, size: 1 | 4 | 8, name: string): number {
  if (size === 1) return view.getUint8(offset);
  if (size === 4) return view.getUint32(offset, true);
  const value = view.getBigUint64(offset, true);
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw unwritable(`${name} is larger than JSON can say`);
}

function tcbFields(bytes: Uint8Array, hasFmc: boolean): object {
  const [first, second, third, fourth] = bytes;
  const [snp, microcode] = bytes.subarray(6);
  return hasFmc
    ? { fmc: first, bootloader: second, tee: third, snp: fourth, microcode }
    : { fmc: null, bootloader: first, tee: second, snp, microcode };
}

function unwritable(reason: string): Error {
  return evidenceInvalid(`the SEV-SNP report cannot be written as a KBS wants it: ${reason}`, { part: 'report' });
}

/** Undefined: this release, or this version of the report, has no such field. */
function named(fields: Fields, names: readonly string[]): unknown {
  return names.map((name) => fields[name]).find((value) => value !== undefined && value !== null);
}

function writeInteger(view: DataView, offset: number, size: 1 | 4 | 8, value: unknown, name: string): void {
  if (value === undefined) {
    if (size !== 1 && offset < 0x188 && name !== 'key_info') throw invalidField(name);
    return;
  }
  const most = size === 1 ? 0xff : size === 4 ? 0xffff_ffff : Number.MAX_SAFE_INTEGER;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > most) throw invalidField(name);
  if (size === 1) view.setUint8(offset, value);
  else if (size === 4) view.setUint32(offset, value, true);
  else view.setBigUint64(offset, BigInt(value), true);
}

/** Turin has an FMC, which moves the others one place: it is there, or null. */
function writeTcb(bytes: Uint8Array, offset: number, value: unknown, name: string): void {
  const tcb = objectOf(value, name);
  const byte = (field: string): number => {
    const given = tcb[field];
    if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given > 0xff)
      throw invalidField(`${name}.${field}`);
    return given;
  };
  const hasFmc = tcb['fmc'] !== undefined && tcb['fmc'] !== null;
  if (hasFmc) bytes.set([byte('fmc'), byte('bootloader'), byte('tee'), byte('snp')], offset);
  else bytes.set([byte('bootloader'), byte('tee'), 0, 0, 0, 0, byte('snp')], offset);
  bytes[offset + 7] = byte('microcode');
}

/** Once `current: {major, minor, build}`, once `current_major` and so on. */
function writeVersion(bytes: Uint8Array, offset: number, fields: Fields, name: string): void {
  const nested = fields[name];
  const parts = ['build', 'minor', 'major'].map((part) =>
    typeof nested === 'object' && nested !== null ? (nested as Fields)[part] : fields[`${name}_${part}`],
  );
  for (const [index, part] of parts.entries()) {
    if (typeof part !== 'number' || !Number.isInteger(part) || part < 0 || part > 0xff) throw invalidField(name);
    bytes[offset + index] = part;
  }
}

function arrayOf(value: unknown, length: number, name: string): Uint8Array {
  if (!Array.isArray(value) || value.length !== length) throw invalidField(name);
  const numbers = value as readonly unknown[];
  const areBytes = numbers.every((one) => typeof one === 'number' && Number.isInteger(one) && one >= 0 && one <= 0xff);
  if (!areBytes) throw invalidField(name);
  return Uint8Array.from(numbers as readonly number[]);
}

function objectOf(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalidField(name);
  return value as Fields;
}

function invalidField(name: string): Error {
  return evidenceInvalid(`the SEV-SNP report has no usable field ${name}`, { part: 'attestation_report', field: name });
}
