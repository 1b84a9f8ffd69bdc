/** The claims of CCA tokens (spec/attestation-cca.md, "Claims"), and their values once a token is verified. */
import { toHex } from '../../../lib/hex.ts';
import { commonClaims, type ClaimDefinition, type ClaimValue } from '../verifier.ts';
import type { CcaToken } from './token.ts';

const rmm = 'Arm RMM specification, "Attestation"';

export const ccaDefinitions: readonly ClaimDefinition[] = [
  commonClaims.debug,
  { ...claim('cca.rim', 'bytes', 'What the realm was when it began.'), mustBeJudged: true },
  ...[0, 1, 2, 3].map((index) => claim(`cca.rem${index}`, 'bytes', `What the realm measured, register ${index}.`)),
  { ...claim('cca.rpv', 'bytes', 'What the host put in when it made the realm.'), bytes: 64 },
  claim('cca.realm.hash-algorithm', 'text', 'What the realm is measured with, such as sha-256.'),
  {
    ...claim('cca.platform.implementation-id', 'bytes', 'The design of the platform.'),
    ...{ bytes: 32, mustBeJudged: true },
  },
  { ...claim('cca.platform.instance-id', 'bytes', 'Which platform it is.'), bytes: 33 },
  claim('cca.platform.lifecycle', 'text', 'secured, or one of the states in which realms are not safe.'),
  claim('cca.platform.config', 'bytes', 'The configuration of the platform, as its maker encodes it.'),
  claim('cca.platform.profile', 'text', 'The form of the platform token.'),
  {
    ...claim('cca.platform.sw-components', 'list', 'Firmware as TYPE MEASUREMENT SIGNER, in hexadecimal.'),
    mustBeJudged: true,
  },
  claim('cca.platform.root', 'text', 'The name of the configured key that signed the platform token.'),
];

export function ccaClaims({ platform, realm }: CcaToken, rootName: string): ReadonlyMap<string, ClaimValue> {
  const components = platform.components.map(
    ({ type, measurement, signer }) => `${type} ${toHex(measurement)} ${toHex(signer)}`,
  );
  return new Map<string, ClaimValue>([
    ['debug', platform.lifecycle !== 'secured'],
    ['cca.rim', realm.initialMeasurement],
    ...realm.extensibleMeasurements.map((value, index) => [`cca.rem${index}`, value] as const),
    ['cca.rpv', realm.personalization],
    ['cca.realm.hash-algorithm', realm.hashAlgorithm],
    ['cca.platform.implementation-id', platform.implementationId],
    ['cca.platform.instance-id', platform.instanceId],
    ['cca.platform.lifecycle', platform.lifecycle],
    ['cca.platform.config', platform.config],
    ['cca.platform.profile', platform.profile],
    ['cca.platform.sw-components', components],
    ['cca.platform.root', rootName],
  ]);
}

function claim(name: string, kind: ClaimDefinition['kind'], about: string): ClaimDefinition {
  return { name, kind, about, source: rmm, mustBeJudged: false };
}
