import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { seededBytes } from '../../../test/fuzz/seeded.ts';
import { systemRandom } from '../../crypto/random.ts';
import { isCaissonError } from '../../lib/errors.ts';
import { evidenceFromKbs, evidenceToKbs } from './evidence.ts';
import { openJwe, readTeePublicKey, sealJwe, type TeePublicKey } from './jwe.ts';
import { kbsReportData } from './runtime-data.ts';
import { rebuildSnpReport, snpReportBytes, snpReportFields } from './snp-report.ts';

const secret = new TextEncoder().encode('thirty-two bytes of a volume key');

function ecPair(namedCurve: 'P-256' | 'P-521') {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve });
  const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
  return { privateKey, jwk: { kty, crv, x, y, alg: 'ECDH-ES+A256KW' } as TeePublicKey };
}

function rsaPair(modulusLength: number) {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength });
  const { kty, n, e } = publicKey.export({ format: 'jwk' });
  return { privateKey, jwk: { kty, n, e, alg: 'RSA-OAEP-256' } as TeePublicKey };
}

test('what is sealed to a key opens with it, with every kind of key', () => {
  for (const { privateKey, jwk } of [ecPair('P-256'), ecPair('P-521'), rsaPair(2048)])
    assert.deepEqual(openJwe(sealJwe(secret, jwk, systemRandom), privateKey), secret);
});

test('the header has its members in alphabetical order and no spaces', () => {
  const header = Buffer.from(sealJwe(secret, ecPair('P-256').jwk, systemRandom).protected, 'base64url').toString();
  assert.match(
    header,
    /^\{"alg":"ECDH-ES\+A256KW","enc":"A256GCM","epk":\{"crv":"P-256","kty":"EC","x":"[\w-]{43}","y":"[\w-]{43}"\}\}$/,
  );
});

test('an answer that was changed in any part, or sealed to another key, is refused', () => {
  const { privateKey, jwk } = ecPair('P-256');
  const jwe = sealJwe(secret, jwk, systemRandom);
  const isUntrusted = (error: unknown): boolean => isCaissonError(error, 'broker-untrusted');
  for (const name of ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'] as const) {
    const bytes = Buffer.from(jwe[name], 'base64url');
    bytes[bytes.length >> 1]! ^= 1;
    assert.throws(() => openJwe({ ...jwe, [name]: bytes.toString('base64url') }, privateKey), isUntrusted, name);
    assert.throws(() => openJwe({ ...jwe, [name]: '' }, privateKey), isUntrusted, `${name} is empty`);
  }
  assert.throws(() => openJwe(jwe, ecPair('P-256').privateKey), isUntrusted);
});

test('keys that would protect nothing, or that the protocol does not know, are refused', () => {
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' });
  const rejected: readonly object[] = [
    { ...p384, alg: 'ECDH-ES+A256KW' },
    { ...ecPair('P-256').jwk, alg: 'ECDH-ES' },
    { ...rsaPair(2048).jwk, alg: 'RSA1_5' },
    rsaPair(1024).jwk,
    { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', alg: 'ECDH-ES+A256KW' },
    { kty: 'oct', k: 'AAAA', alg: 'ECDH-ES+A256KW' },
  ];
  for (const jwk of rejected)
    assert.throws(
      () => readTeePublicKey(jwk as TeePublicKey),
      (error) => isCaissonError(error, 'evidence-invalid'),
    );
});

test('the report data is the digest of the canonical JSON, 64 bytes, of a vTPM 48', () => {
  const key = { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x: 'eA', y: 'eQ' } as const;
  const json =
    '{"additional-evidence":"","nonce":"bm9uY2U=","tee-pubkey":{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eA","y":"eQ"}}';
  const digest = createHash('sha384').update(json).digest();
  const runtimeData = { nonce: 'bm9uY2U=', 'tee-pubkey': key };
  assert.deepEqual(Buffer.from(kbsReportData('tdx', runtimeData, '')), Buffer.concat([digest, Buffer.alloc(16)]));
  assert.deepEqual(Buffer.from(kbsReportData('az-snp-vtpm', runtimeData, '')), digest);
  assert.notDeepEqual(kbsReportData('tdx', runtimeData, '{}'), kbsReportData('tdx', runtimeData, ''));
});

/** A report with a value of its own in every byte of every field, as its client writes it, and its bytes. */
function snpSample(isTurin: boolean) {
  const bytes = new Uint8Array(snpReportBytes);
  const fill = (offset: number, length: number): number[] => {
    const values = Array.from({ length }, (_, index) => (offset + index * 7 + 1) & 0xff);
    bytes.set(values, offset);
    return values;
  };
  const integer = (offset: number, length: number, value: number): number => {
    const view = new DataView(bytes.buffer);
    if (length === 8) view.setBigUint64(offset, BigInt(value), true);
    else if (length === 4) view.setUint32(offset, value, true);
    else view.setUint8(offset, value);
    return value;
  };
  const tcb = (offset: number): object => {
    const [a, b, c, d, microcode] = [offset & 0x7f, 2, 3, 4, 5];
    bytes.set(isTurin ? [a, b, c, d, 0, 0, 0, microcode] : [b, c, 0, 0, 0, 0, d, microcode], offset);
    return { fmc: isTurin ? a : null, bootloader: b, tee: c, snp: d, microcode };
  };
  const version = (offset: number): object => {
    const [build, minor, major] = fill(offset, 3);
    return { major, minor, build };
  };
  const report = {
    version: integer(0, 4, 5),
    guest_svn: integer(4, 4, 9),
    policy: integer(8, 8, 0x3_001f),
    family_id: fill(0x10, 16),
    image_id: fill(0x20, 16),
    vmpl: integer(0x30, 4, 1),
    sig_algo: integer(0x34, 4, 1),
    current_tcb: tcb(0x38),
    plat_info: integer(0x40, 8, 0x25),
    key_info: integer(0x48, 4, 4),
    report_data: fill(0x50, 64),
    measurement: fill(0x90, 48),
    host_data: fill(0xc0, 32),
    id_key_digest: fill(0xe0, 48),
    author_key_digest: fill(0x110, 48),
    report_id: fill(0x140, 32),
    report_id_ma: fill(0x160, 32),
    reported_tcb: tcb(0x180),
    cpuid_fam_id: integer(0x188, 1, 0x1a),
    cpuid_mod_id: integer(0x189, 1, 2),
    cpuid_step: integer(0x18a, 1, 1),
    chip_id: fill(0x1a0, 64),
    committed_tcb: tcb(0x1e0),
    current: version(0x1e8),
    committed: version(0x1ec),
    launch_tcb: tcb(0x1f0),
    launch_mit_vector: integer(0x1f8, 8, 3),
    current_mit_vector: integer(0x200, 8, 7),
    signature: { r: fill(0x2a0, 72), s: fill(0x2e8, 72) },
  };
  return { report: report as Record<string, unknown>, bytes };
}

test('the SNP report is built again to the byte, with and without FMC', () => {
  for (const isTurin of [false, true]) {
    const { report, bytes } = snpSample(isTurin);
    assert.deepEqual(rebuildSnpReport(report), bytes);
  }
});

test('the fields of a report are those that clients of today write', () => {
  const { report, bytes } = snpSample(true);
  assert.deepEqual(snpReportFields(bytes), report);
});

test('every report survives the way to its fields and back, of each version and processor', () => {
  const random = seededBytes(11);
  const reserved: readonly (readonly [from: number, to: number])[] = [
    ...([
      [0x4c, 0x50],
      [0x18b, 0x1a0],
      [0x1eb, 0x1ec],
      [0x1ef, 0x1f0],
      [0x208, 0x2a0],
      [0x330, 0x4a0],
    ] as const),
  ];
  for (let round = 0; round < 300; round++) {
    const bytes = random.bytes(snpReportBytes);
    const [version = 2, family = 0x19] =
      [
        [2, 0],
        [3, 0x19],
        [3, 0x1a],
        [5, 0x19],
        [5, 0x1a],
      ][round % 5] ?? [];
    for (const [from, to] of reserved) bytes.fill(0, from, to);
    bytes.set([version, 0, 0, 0]);
    for (const at of [0x08, 0x40, 0x1f8, 0x200]) bytes.fill(0, at + 6, at + 8); // below 2^53
    for (const at of [0x38, 0x180, 0x1e0, 0x1f0])
      bytes.fill(0, family === 0x1a ? at + 4 : at + 2, at + (family === 0x1a ? 7 : 6));
    bytes[0x188] = family;
    if (version < 3) bytes.fill(0, 0x188, 0x18b);
    if (version < 5) bytes.fill(0, 0x1f8, 0x208);
    const fields = snpReportFields(bytes);
    assert.deepEqual(rebuildSnpReport(JSON.parse(JSON.stringify(fields))), bytes);
    assert.equal((fields['current_tcb'] as { fmc: unknown }).fmc === null, family !== 0x1a);
    assert.equal(fields['cpuid_fam_id'] === null, version < 3);
    assert.equal(fields['current_mit_vector'] === null, version < 5);
  }
});

test('a report that its fields cannot say is not sent', () => {
  const { bytes } = snpSample(false);
  const isInvalid = (error: unknown): boolean => isCaissonError(error, 'evidence-invalid');
  assert.throws(() => snpReportFields(bytes.subarray(1)), isInvalid);
  for (const at of [0x4c, 0x18b, 0x1eb, 0x2a0 - 1, snpReportBytes - 1, 0x08 + 7]) {
    const changed = Uint8Array.from(bytes);
    changed[at] = 0xff;
    assert.throws(() => snpReportFields(changed), isInvalid, `byte ${at}`);
  }
});

test('older names of the SNP report are read, and fields of newer versions may be missing', () => {
  const { report, bytes } = snpSample(false);
  const { current, committed, key_info: keyInfo, cpuid_fam_id: _family, launch_mit_vector: _vector, ...rest } = report;
  const flat = (name: string, value: unknown): object =>
    Object.fromEntries(Object.entries(value as object).map(([part, byte]) => [`${name}_${part}`, byte as unknown]));
  const older = { ...rest, ...flat('current', current), ...flat('committed', committed), _author_key_en: keyInfo };
  bytes[0x188] = 0;
  bytes.fill(0, 0x1f8, 0x200);
  assert.deepEqual(rebuildSnpReport(older), bytes);
});

test('an SNP report with a field missing, too long or out of range is refused', () => {
  const changes: readonly ((report: Record<string, unknown>) => void)[] = [
    (report) => delete report['measurement'],
    (report) => (report['measurement'] = Array.from({ length: 49 }, () => 0)),
    (report) => ((report['report_data'] as number[])[3] = 256),
    (report) => (report['vmpl'] = -1),
    (report) => (report['version'] = 2 ** 32),
    (report) => delete report['guest_svn'],
    (report) => (report['reported_tcb'] = { bootloader: 1 }),
    (report) => (report['current'] = { major: 1, minor: 300, build: 0 }),
    (report) => delete report['signature'],
  ];
  for (const change of changes) {
    const { report } = snpSample(false);
    change(report);
    assert.throws(
      () => rebuildSnpReport(report),
      (error) => isCaissonError(error, 'evidence-invalid'),
      String(change),
    );
  }
  for (const report of [undefined, null, [], 'report', 7])
    assert.throws(
      () => rebuildSnpReport(report),
      (error) => isCaissonError(error, 'evidence-invalid'),
    );
});

test('evidence that is bytes alone survives the way there and back', () => {
  const quote = new Uint8Array([3, 0, 2, 0]);
  for (const evidence of [
    { technology: 'sgx', parts: { quote } },
    { technology: 'tdx', parts: { quote } },
    { technology: 'tdx', parts: { quote, eventLog: new Uint8Array([1]) } },
    { technology: 'cca', parts: { token: quote } },
    { technology: 'snp', parts: { report: snpSample(true).bytes } },
    snpWithChain('VCEK'),
    snpWithChain('VLEK'),
  ] as const)
    assert.deepEqual(evidenceFromKbs(evidence.technology, evidenceToKbs(evidence)), evidence);
});

function snpWithChain(kind: 'VCEK' | 'VLEK') {
  const chain = [{ cert_type: kind, data: [1, 2, 3] }];
  return evidenceFromKbs('snp', { attestation_report: snpSample(true).report, cert_chain: chain });
}

test('a table of certificates that leads out of itself is refused, one without the chip’s key is left out', () => {
  const { technology, parts } = snpWithChain('VCEK');
  const table = Buffer.from(parts['certificates']!);
  table.writeUInt32LE(0xffff_ffff, 20);
  const changed = (certificates: Uint8Array) => evidenceToKbs({ technology, parts: { ...parts, certificates } });
  assert.throws(
    () => changed(table),
    (error) => isCaissonError(error, 'evidence-invalid'),
  );
  for (const other of [new Uint8Array(24), new Uint8Array(5), new Uint8Array(24).fill(7)])
    assert.equal((changed(other) as { cert_chain: unknown }).cert_chain, null);
});

test('evidence of another form, or that proves too little, is refused', () => {
  const isInvalid = (error: unknown): boolean => isCaissonError(error, 'evidence-invalid');
  for (const primary of [
    undefined,
    [],
    {},
    { quote: 7 },
    { quote: 'not base64!' },
    { quote: 'A' },
    { quote: 'AAAAA===' },
    { quote: '' },
  ])
    assert.throws(() => evidenceFromKbs('tdx', primary), isInvalid);
  assert.throws(() => evidenceFromKbs('tpm', { tpm_quote: {}, ak_public: '' }), isInvalid);
  assert.throws(
    () => evidenceFromKbs('az-snp-vtpm', { tpm_quote: { message: 'ff', signature: 'ff', pcrs: [] } }),
    isInvalid,
  );
  assert.throws(() => evidenceToKbs({ technology: 'tpm', parts: {} }), isInvalid);
});

test('a certificate of the chip’s key becomes the table that a host would have given', () => {
  const { report } = snpSample(false);
  const chain = [
    { cert_type: 'ASK', data: [9] },
    { cert_type: 'VCEK', data: [1, 2, 3] },
  ];
  const { parts } = evidenceFromKbs('snp', { attestation_report: report, cert_chain: chain });
  const table = Buffer.from(parts['certificates']!);
  assert.equal(table.subarray(0, 16).toString('hex'), '63da758de6644564adc5f4b93be8accd');
  assert.deepEqual([...table.subarray(table.readUInt32LE(16))], [1, 2, 3]);
  assert.equal(table.readUInt32LE(20), 3);
  assert.ok(table.subarray(24, 48).every((byte) => byte === 0));
});
