/** Each check of chains and lists, on certificates that only this check refuses. */
import assert from 'node:assert/strict';
import { constants, createPublicKey, generateKeyPairSync, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { mock, test } from 'node:test';
import {
  authorityExtensions,
  der,
  derInteger,
  derOid,
  derText,
  fakeCertificate,
  fakeCrl,
  pem,
  type FakeCertificate,
  type FakeCrl,
} from '../../../../test/support/fake-x509.ts';
import { CaissonError } from '../../../lib/errors.ts';
import { parseDer } from '../../../wire/der.ts';
import {
  distinguishedName,
  parseCertificate,
  splitDer,
  splitPem,
  verifyChain,
  type Certificate,
  type ChainOptions,
  type Origin,
} from './certificates.ts';
import { isRevoked, parseCrl, verifyCrl } from './crl.ts';

const now = Date.UTC(2026, 5, 15);
const day = 86_400_000;
const keys = new Map<string, KeyObject>();

function key(name: string): KeyObject {
  const found = keys.get(name) ?? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  keys.set(name, found);
  return found;
}

const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

function certificate(name: string, issuer: string, changes: Partial<FakeCertificate> = {}): Certificate {
  const bytes = fakeCertificate({
    ...{ subject: { CN: name }, issuer: { CN: issuer }, notBefore: now - day, notAfter: now + day },
    ...{ publicKey: createPublicKey(key(name)), signingKey: key(issuer), scheme: 'ecdsa-sha256' },
    ...(name === 'leaf' ? {} : { extensions: authorityExtensions(undefined, true) }),
    ...changes,
  });
  return parseCertificate(bytes, 'evidence');
}

const root = certificate('root', 'root');
const middle = certificate('middle', 'root');
const leaf = certificate('leaf', 'middle');

function chain(changes: Partial<ChainOptions> = {}): readonly Certificate[] {
  return verifyChain({ leaf, intermediates: [middle], roots: [root], now, origin: 'evidence', ...changes }).path;
}

function refuses(run: () => unknown, check: string, code = 'evidence-untrusted'): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof CaissonError, String(error));
    assert.deepEqual([error.details['check'], error.code], [check, code], error.message);
    return true;
  });
}

test('a chain, whatever the order and whatever comes with it', () => {
  const stranger = certificate('stranger', 'stranger');
  const path = chain({ intermediates: [stranger, root, middle, leaf] });
  assert.deepEqual(path, [leaf, middle, root]);
  assert.deepEqual(chain({ leaf: root, intermediates: [] }), [root]);
});

test('a chain that held costs no signature again, and every other check as before', () => {
  const message = Uint8Array.from(certificate('leaf', 'middle').der);
  const again = parseCertificate(message, 'evidence');
  const der = Uint8Array.from(message);
  chain({ leaf: again });
  message.fill(0);
  const counted = mock.method(X509Certificate.prototype, 'verify');
  try {
    const parsed = parseCertificate(der, 'evidence');
    assert.deepEqual(parsed.der, der);
    assert.deepEqual(chain({ leaf: parsed }), [again, middle, root]);
    assert.equal(counted.mock.callCount(), 0);
    refuses(() => chain({ leaf: parsed, now: now + day + 1 }), 'certificate-dates');
    refuses(() => chain({ leaf: parsed, now: now - day - 1 }), 'certificate-dates');
    refuses(() => chain({ leaf: parsed, intermediates: [] }), 'certificate-issuer');
    const stranger = { publicKey: createPublicKey(key('stranger')), signingKey: key('stranger') };
    refuses(() => chain({ leaf: parsed, roots: [certificate('root', 'root', stranger)] }), 'certificate-signature');
    refuses(() => chain({ leaf: parsed, roots: [certificate('another', 'another')] }), 'certificate-issuer');
    refuses(() => chain({ leaf: parsed, requireCa: true }), 'certificate-ca');
    // Another authority of the same name and the same subject, whose key this is not.
    const other = certificate('middle', 'root', { publicKey: createPublicKey(key('other')) });
    refuses(() => chain({ leaf: parsed, intermediates: [other] }), 'certificate-signature');
    assert.ok(counted.mock.callCount() > 0);
  } finally {
    counted.mock.restore();
  }
});

test('one bit of a certificate that is known makes it an unknown one', () => {
  chain();
  const changed = Uint8Array.from(leaf.der);
  changed[changed.length - 1]! ^= 1;
  refuses(() => chain({ leaf: parseCertificate(changed, 'evidence') }), 'certificate-signature');
});

test('what never reached a trusted root is not remembered', () => {
  const foreign = certificate('foreign', 'foreign');
  const theirs = certificate('leaf', 'foreign');
  const attempt = (): unknown => chain({ leaf: theirs, intermediates: [foreign] });
  refuses(attempt, 'certificate-root');
  const counted = mock.method(X509Certificate.prototype, 'verify');
  try {
    refuses(attempt, 'certificate-root');
    assert.equal(counted.mock.callCount(), 1);
    assert.notEqual(parseCertificate(theirs.der, 'evidence'), theirs);
  } finally {
    counted.mock.restore();
  }
});

test('of two issuers of one name the one whose key fits is taken', () => {
  const other = certificate('middle', 'root', { publicKey: createPublicKey(key('other')) });
  assert.deepEqual(chain({ intermediates: [other, middle] }), [leaf, middle, root]);
});

test('issuer, signature and root', () => {
  refuses(() => chain({ intermediates: [] }), 'certificate-issuer');
  refuses(() => chain({ leaf: certificate('leaf', 'middle', { signingKey: key('other') }) }), 'certificate-signature');
  const renewed = certificate('root', 'root');
  refuses(
    () => chain({ roots: [certificate('elsewhere', 'elsewhere')], intermediates: [middle, renewed] }),
    'certificate-root',
  );
  refuses(() => chain({ roots: [], intermediates: [middle, root] }), 'certificate-root');
  const rsa = certificate('leaf', 'middle', { signingKey: rsaKey, scheme: 'rsa-pss-sha384' });
  refuses(() => chain({ leaf: rsa }), 'certificate-signature');
});

test('dates of every certificate on the path, both ends included', () => {
  for (const dates of [{ notBefore: now + 1000 }, { notAfter: now - 1000 }]) {
    refuses(() => chain({ leaf: certificate('leaf', 'middle', dates) }), 'certificate-dates');
    refuses(() => chain({ intermediates: [certificate('middle', 'root', dates)] }), 'certificate-dates');
    refuses(() => chain({ roots: [certificate('root', 'root', dates)] }), 'certificate-dates');
  }
  chain({ leaf: certificate('leaf', 'middle', { notBefore: now, notAfter: now }) });
  const late = certificate('leaf', 'middle', { notAfter: now - 1000 });
  refuses(() => chain({ leaf: late, origin: 'collateral' }), 'certificate-dates', 'collateral-stale');
});

test('an issuer is an authority and may sign certificates', () => {
  const notOne = [{ oid: '2.5.29.19', isCritical: true, value: der(0x30) }];
  refuses(() => chain({ intermediates: [certificate('middle', 'root', { extensions: notOne })] }), 'certificate-ca');
  refuses(() => chain({ intermediates: [certificate('middle', 'root', { extensions: [] })] }), 'certificate-ca');
  const usage = [authorityExtensions(undefined, true)[0]!, { oid: '2.5.29.15', value: Uint8Array.of(3, 2, 7, 0x80) }];
  refuses(() => chain({ intermediates: [certificate('middle', 'root', { extensions: usage })] }), 'certificate-usage');
  const silent = [authorityExtensions(undefined, true)[0]!];
  chain({ intermediates: [certificate('middle', 'root', { extensions: silent })] });
  refuses(() => chain({ requireCa: true }), 'certificate-ca');
  chain({ leaf: middle, intermediates: [], requireCa: true });
});

test('authorities below an issuer are counted', () => {
  const narrow = (length: number): Certificate =>
    certificate('root', 'root', { extensions: authorityExtensions(length, true) });
  refuses(() => chain({ roots: [narrow(0)] }), 'certificate-path-length');
  chain({ roots: [narrow(1)] });
  const names = Array.from({ length: 9 }, (_, index) => `level ${index}`);
  const long = names.map((name, index) => certificate(name, names[index + 1] ?? 'root'));
  refuses(() => chain({ leaf: long[0]!, intermediates: long }), 'certificate-path-length');
});

test('an unknown critical extension is refused unless the caller knows it', () => {
  const extensions = [{ oid: '1.2.3.4', isCritical: true, value: Uint8Array.of(1) }];
  const special = certificate('leaf', 'middle', { extensions });
  refuses(() => chain({ leaf: special }), 'certificate-extensions');
  chain({ leaf: special, knownCritical: ['1.2.3.4'] });
  chain({ leaf: certificate('leaf', 'middle', { extensions: [{ ...extensions[0]!, isCritical: false }] }) });
});

test('a signature with SHA-1 is refused', () => {
  const sha1 = der(0x30, derOid('1.2.840.10045.4.1'));
  const sha256 = der(0x30, derOid('1.2.840.10045.4.3.2'));
  const text = Buffer.from(leaf.der).toString('hex');
  const weak = replaceAlgorithm(text, Buffer.from(sha256).toString('hex'), Buffer.from(sha1).toString('hex'));
  refuses(() => chain({ leaf: parseCertificate(weak, 'evidence') }), 'certificate-algorithm');
});

/** Both mentions of the algorithm, one byte shorter each, and the lengths around them. */
function replaceAlgorithm(text: string, from: string, to: string): Uint8Array {
  const parts = Buffer.from(text, 'hex');
  const at = parts.indexOf(Buffer.from(from, 'hex'));
  const last = parts.lastIndexOf(Buffer.from(from, 'hex'));
  const [algorithm, length] = [Buffer.from(to, 'hex'), from.length / 2];
  const head = parts.readUInt8(1) & 0x7f;
  const bodyStart = 2 + head;
  const bodyHead = 2 + (parts.readUInt8(bodyStart + 1) >= 0x80 ? parts.readUInt8(bodyStart + 1) & 0x7f : 0);
  const body = Buffer.concat([parts.subarray(bodyStart + bodyHead, at), algorithm, parts.subarray(at + length, last)]);
  return der(0x30, der(0x30, body), algorithm, parts.subarray(last + length));
}

test('certificates that cannot be read are invalid', () => {
  const twice = { oid: '1.2.3', value: Uint8Array.of(1) };
  const many = Array.from({ length: 65 }, (_, index) => ({ oid: `1.2.${index}`, value: Uint8Array.of(1) }));
  const bad: readonly (() => Uint8Array)[] = [
    () => new Uint8Array(0),
    () => Uint8Array.from([...leaf.der, 0]),
    () => leaf.der.subarray(0, -1),
    () => certificateBytes({ extensions: [{ oid: '1.2.3', value: new Uint8Array(16 * 1024) }] }),
    () => certificateBytes({ extensions: [twice, twice] }),
    () => certificateBytes({ extensions: many }),
    () => certificateBytes({ extensions: [{ oid: '2.5.29.19', value: Uint8Array.of(1) }] }),
    () => certificateBytes({ extensions: [{ oid: '2.5.29.15', value: Uint8Array.of(4, 0) }] }),
  ];
  for (const make of bad) refuses(() => parseCertificate(make(), 'evidence'), 'certificate-format', 'evidence-invalid');
  refuses(() => parseCertificate(Uint8Array.of(1), 'collateral'), 'certificate-format', 'collateral-untrusted');
});

function certificateBytes(changes: Partial<FakeCertificate>): Uint8Array {
  return fakeCertificate({
    ...{ subject: { CN: 'leaf' }, issuer: { CN: 'middle' }, notBefore: now - day, notAfter: now + day },
    ...{ publicKey: createPublicKey(key('leaf')), signingKey: key('middle'), scheme: 'ecdsa-sha256' },
    ...changes,
  });
}

test('two algorithms in one certificate are refused', () => {
  const algorithm = Buffer.from(der(0x30, derOid('1.2.840.10045.4.3.2')));
  const bytes = Buffer.from(leaf.der);
  bytes[bytes.lastIndexOf(algorithm) + algorithm.length - 1] = 3;
  refuses(() => parseCertificate(Uint8Array.from(bytes), 'evidence'), 'certificate-format', 'evidence-invalid');
});

test('PEM holds certificates and nothing else', () => {
  const text = Buffer.from(pem(leaf.der, middle.der)).toString();
  const split = (given: string, origin: Origin = 'evidence'): readonly Certificate[] =>
    splitPem(Buffer.from(given, 'latin1'), origin);
  assert.deepEqual(
    split(text).map((item) => item.serial),
    [leaf.serial, middle.serial],
  );
  for (const ending of ['\0', '\0\0', '\r\n', '']) assert.equal(split(text + ending).length, 2);
  const bad = [
    '',
    '\0',
    `x${text}`,
    `${text}x`,
    text.replace('-----END', '----END'),
    `${text}\0x`,
    `${text}-----BEGIN X-----`,
  ];
  for (const given of bad) refuses(() => split(given), 'certificate-format', 'evidence-invalid');
  for (const sign of ['!', '='])
    refuses(() => split(text.replace('-----\nM', `-----\n${sign}M`)), 'certificate-format', 'evidence-invalid');
  refuses(() => split(text.repeat(17)), 'certificate-format', 'evidence-invalid');
  assert.equal(split(text.repeat(16)).length, 32);
  refuses(() => split(text + '\n'.repeat(1_100_000)), 'certificate-format', 'evidence-invalid');
});

test('DER certificates one after another', () => {
  const bytes = Buffer.concat([leaf.der, middle.der]);
  assert.equal(splitDer(bytes, 'evidence').length, 2);
  refuses(
    () => splitDer(Buffer.concat(Array.from({ length: 17 }, () => bytes)), 'evidence'),
    'certificate-format',
    'evidence-invalid',
  );
  refuses(() => splitDer(bytes.subarray(0, -1), 'evidence'), 'certificate-format', 'evidence-invalid');
});

test('base64 has one form', () => {
  for (let tries = 0; ; tries++) {
    const text = Buffer.from(pem(certificate('leaf', 'middle').der)).toString();
    const [, last = ''] = /([A-Za-z0-9+/])=\n-----END/.exec(text) ?? [];
    if (!/[AEIMQUYcgkosw048]/.test(last)) continue;
    const next = String.fromCharCode(last.charCodeAt(0) + 1);
    const other = text.replace(/.=(\n-----END)/, `${next}=$1`);
    refuses(() => splitPem(Buffer.from(other), 'evidence'), 'certificate-format', 'evidence-invalid');
    break;
  }
});

test('names', () => {
  refuses(() => distinguishedName(Uint8Array.of(1), 'evidence'), 'certificate-format', 'evidence-invalid');
  assert.deepEqual(distinguishedName(leaf.subject, 'evidence'), { CN: 'leaf' });
  const attribute = der(0x31, der(0x30, derOid('2.5.4.3'), derText(0x0c, 'a')));
  const name = der(0x30, attribute, attribute);
  refuses(() => distinguishedName(name, 'evidence'), 'certificate-format', 'evidence-invalid');
});

function list(changes: Partial<FakeCrl> = {}): Uint8Array {
  return fakeCrl({
    ...{ issuer: { CN: 'middle' }, thisUpdate: now - day, nextUpdate: now + day, revoked: [5, 0x8000] },
    ...{ signingKey: key('middle'), scheme: 'ecdsa-sha256' },
    ...changes,
  });
}

const check = (crl: Uint8Array, issuer = middle, ageMax = Infinity): unknown => verifyCrl({ crl, issuer, now, ageMax });

test('a list names what is revoked', () => {
  const crl = verifyCrl({ crl: list(), issuer: middle, now });
  const serial = (number: number): Certificate => certificate('leaf', 'middle', { serial: number });
  assert.deepEqual(
    [5, 6, 0x8000].map((number) => isRevoked(crl, serial(number))),
    [true, false, true],
  );
  assert.throws(() => isRevoked(crl, middle), { code: 'assertion-failed' });
});

test('each check of a list', () => {
  const untrusted = 'collateral-untrusted';
  refuses(() => check(list({ issuer: { CN: 'root' } })), 'crl-issuer', untrusted);
  refuses(() => check(list({ signingKey: key('other') })), 'crl-signature', untrusted);
  const noLists = certificate('middle', 'root', { extensions: authorityExtensions(undefined, false) });
  refuses(() => check(list(), noLists), 'crl-usage', untrusted);
  refuses(() => check(list({ scheme: 'rsa-pss-sha384', signingKey: rsaKey })), 'crl-algorithm', untrusted);
  refuses(() => check(list({ thisUpdate: now + 1000 })), 'crl-dates', 'collateral-stale');
  refuses(() => check(list({ nextUpdate: now - 1000 })), 'crl-dates', 'collateral-stale');
  check(list({ thisUpdate: now, nextUpdate: now }));
  check(list(), middle, day);
  refuses(() => check(list(), middle, day - 1), 'crl-age', 'collateral-stale');
  for (const bytes of [new Uint8Array(0), Uint8Array.of(0), list().subarray(0, -1), Uint8Array.from([...list(), 0])])
    refuses(() => check(bytes), 'crl-format', untrusted);
});

test('RSA with PSS, and only with one hash', () => {
  const issuer = certificate('middle', 'root', { publicKey: createPublicKey(rsaKey) });
  const bytes = list({ scheme: 'rsa-pss-sha384', signingKey: rsaKey });
  check(bytes, issuer);
  const other = certificate('middle', 'root', {
    publicKey: generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey,
  });
  refuses(() => check(bytes, other), 'crl-signature', 'collateral-untrusted');
  const mixed = Buffer.from(bytes);
  const hash = Buffer.from(derOid('2.16.840.1.101.3.4.2.2'));
  for (let at = mixed.indexOf(hash), count = 0; at >= 0; at = mixed.indexOf(hash, at + 1), count++)
    if (count % 2 === 1) mixed[at + hash.length - 1] = 1;
  refuses(() => check(mixed, issuer), 'crl-algorithm', 'collateral-untrusted');
});

test('critical extensions of a list and of an entry', () => {
  const extension = (oid: string, isCritical: boolean): Uint8Array =>
    der(0x30, der(0x30, derOid(oid), ...(isCritical ? [der(1, Uint8Array.of(0xff))] : []), der(4, derInteger(1))));
  const withExtensions = (whole: Uint8Array[], entry: Uint8Array[]): Uint8Array => {
    const fields = [...parseFields(list())];
    fields[5] = der(0x30, der(0x30, derInteger(5), derText(0x17, '260101000000Z'), ...entry));
    fields[6] = der(0xa0, ...whole);
    return resigned(fields);
  };
  check(withExtensions([extension('2.5.29.20', true)], [extension('2.5.29.21', true)]));
  const scope = () => check(withExtensions([extension('2.5.29.28', true)], []));
  refuses(scope, 'crl-extensions', 'collateral-untrusted');
  const indirect = () => check(withExtensions([extension('2.5.29.20', false)], [extension('2.5.29.29', true)]));
  refuses(indirect, 'crl-extensions', 'collateral-untrusted');
});

test('a list without nextUpdate, or of version 1, is refused', () => {
  const fields = [...parseFields(list())];
  refuses(() => parseCrl(resigned(fields.toSpliced(4, 1))), 'crl-format', 'collateral-untrusted');
  refuses(() => parseCrl(resigned(fields.with(0, derInteger(0)))), 'crl-format', 'collateral-untrusted');
  refuses(() => parseCrl(resigned(fields.toSpliced(0, 1))), 'crl-format', 'collateral-untrusted');
});

/** version, algorithm, issuer, thisUpdate, nextUpdate, entries, extensions. */
function* parseFields(crl: Uint8Array): Generator<Uint8Array> {
  for (const field of parseDer(crl).sequence().next().sequence().rest()) yield field.bytes;
}

const rsaIssuer = certificate('middle', 'root', { publicKey: createPublicKey(rsaKey) });
const [sha1, sha256] = ['1.3.14.3.2.26', '2.16.840.1.101.3.4.2.1'];

/** A list that its RSA key signed rightly, under an algorithm as a test wants it. */
function rsaList(algorithm: Uint8Array, padding: object, hash = 'sha256'): Uint8Array {
  const fields = [...parseFields(list())].with(1, algorithm);
  const body = der(0x30, ...fields);
  return der(0x30, body, algorithm, der(3, Uint8Array.of(0), sign(hash, body, { key: rsaKey, ...padding })));
}

test('RSA with PKCS #1', () => {
  const bytes = rsaList(der(0x30, derOid('1.2.840.113549.1.1.11'), der(5)), {});
  check(bytes, rsaIssuer);
  refuses(
    () => check(Uint8Array.from(bytes.with(bytes.length - 1, bytes.at(-1)! ^ 1)), rsaIssuer),
    'crl-signature',
    'collateral-untrusted',
  );
});

test('each parameter of PSS', () => {
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  const listOf = (hash: string, mask: string, generator: string, trailer: number): Uint8Array => {
    const hashOf = (oid: string): Uint8Array => der(0x30, derOid(oid), der(5));
    const parameters = [
      der(0xa0, hashOf(hash)),
      der(0xa1, der(0x30, derOid(generator), hashOf(mask))),
      der(0xa2, derInteger(32)),
      der(0xa3, derInteger(trailer)),
    ];
    const algorithm = der(0x30, derOid('1.2.840.113549.1.1.10'), der(0x30, ...parameters));
    return rsaList(algorithm, pss, hash === sha1 ? 'sha1' : 'sha256');
  };
  const mgf1 = '1.2.840.113549.1.1.8';
  check(listOf(sha256, sha256, mgf1, 1), rsaIssuer);
  for (const bytes of [
    listOf(sha1, sha1, mgf1, 1),
    listOf(sha256, sha1, mgf1, 1),
    listOf(sha256, sha256, '1.2.840.113549.1.1.9', 1),
    listOf(sha256, sha256, mgf1, 2),
  ])
    refuses(() => check(bytes, rsaIssuer), 'crl-algorithm', 'collateral-untrusted');
  const bare = der(0x30, derOid('1.2.840.113549.1.1.10'));
  refuses(() => check(rsaList(bare, pss), rsaIssuer), 'crl-signature', 'collateral-untrusted');
});

function resigned(fields: readonly Uint8Array[]): Uint8Array {
  const body = der(0x30, ...fields);
  const algorithm = der(0x30, derOid('1.2.840.10045.4.3.2'));
  return der(0x30, body, algorithm, der(3, Uint8Array.of(0), sign('sha256', body, key('middle'))));
}
