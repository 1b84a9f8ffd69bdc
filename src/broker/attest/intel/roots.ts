/**
 * The root of Intel's evidence, pinned (spec/attestation-intel.md, "Root"): certificate "Intel SGX Root CA" of 2018-05-21, valid to
 * 2049-12-31, SHA-256 44a0196b 2b99f889 b8e149e9 5b807a35 0e742496 4399e885 a7cbb8cc fab674d3.
 */
import { createHash } from 'node:crypto';
import type { Technology } from '../../../wire/evidence.ts';
import { trustedRoots } from '../trusted-roots.ts';
import type { VerifyContext } from '../verifier.ts';
import { parseCertificate, type Certificate } from '../x509/certificates.ts';

const intelRoot = Buffer.from(
  [
    'MIICjzCCAjSgAwIBAgIUImUM1lqdNInzg7SVUr9QGzknBqwwCgYIKoZIzj0EAwIwaDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3Qg',
    'Q0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYT',
    'AlVTMB4XDTE4MDUyMTEwNDUxMFoXDTQ5MTIzMTIzNTk1OVowaDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoM',
    'EUludGVsIENvcnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYTAlVTMFkwEwYHKoZI',
    'zj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi71OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxF',
    'P2sJBK5zlKOBuzCBuDAfBgNVHSMEGDAWgBQiZQzWWp00ifODtJVSv1AbOScGrDBSBgNVHR8ESzBJMEegRaBDhkFodHRwczovL2Nl',
    'cnRpZmljYXRlcy50cnVzdGVkc2VydmljZXMuaW50ZWwuY29tL0ludGVsU0dYUm9vdENBLmRlcjAdBgNVHQ4EFgQUImUM1lqdNInz',
    'g7SVUr9QGzknBqwwDgYDVR0PAQH/BAQDAgEGMBIGA1UdEwEB/wQIMAYBAf8CAQEwCgYIKoZIzj0EAwIDSQAwRgIhAOW/5QkR+S9C',
    'iSDcNoowLuPRLsWGf/Yi7GSX94BgwTwgAiEA4J0lrHoMs+Xo5o/sX6O9QWxHRAvZUGOdRQ7cvqRXaqI=',
  ].join(''),
  'base64',
);

export interface IntelRoot {
  readonly name: string;
  readonly certificate: Certificate;
}

export const pinnedIntelRoot: IntelRoot = {
  name: 'Intel SGX Root CA',
  certificate: parseCertificate(Uint8Array.from(intelRoot), 'collateral'),
};

/** The pinned root and those that the operator trusts beside it for this technology. */
export function intelRoots(technology: Technology, context: VerifyContext): readonly IntelRoot[] {
  return [pinnedIntelRoot, ...trustedRoots(technology, context).certificates];
}

export function rootDigest({ certificate }: IntelRoot): string {
  return createHash('sha256').update(certificate.der).digest('hex');
}
