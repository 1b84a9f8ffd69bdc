/** Verifier of TPM 2.0 quotes (spec/attestation-tpm.md). */
import { checkEvidence, requiredPart, type Evidence } from '../../../wire/evidence.ts';
import { nameOf, parsePublic, publicKeyOf } from '../../../wire/tpm/public-area.ts';
import type { ClaimValue, VerifiedEvidence, Verifier, VerifyContext } from '../verifier.ts';
import { attestationKeyParent, checkAttestationKey } from './attestation-key.ts';
import { verifyBinding } from './binding.ts';
import { bindingClaims, quoteClaims, registerClaims, tpmDefinitions } from './claims.ts';
import { parseEventLog, replayedRegisters, secureBoot } from './event-log.ts';
import { parseQuote, verifyQuote, type ParsedQuote } from './quote.ts';

export const verifier: Verifier = {
  technology: 'tpm',
  definitions: tpmDefinitions,
  verify: async (evidence, context) => verifyTpm(evidence, context),
};

function verifyTpm(evidence: Evidence, context: VerifyContext): VerifiedEvidence {
  checkEvidence(evidence);
  const parts = {
    quote: requiredPart(evidence, 'quote'),
    signature: requiredPart(evidence, 'signature'),
    pcrs: requiredPart(evidence, 'pcrs'),
  };
  const parsed = parseQuote(parts);
  const area = parsePublic(requiredPart(evidence, 'akPublic'));
  const { eventLog } = evidence.parts;
  const events = eventLog === undefined ? undefined : parseEventLog(eventLog);

  checkAttestationKey(area, parsed.signature);
  const publicKey = publicKeyOf(area);
  const name = nameOf(area);
  verifyQuote(parsed, parts, publicKey);
  const binding = verifyBinding(evidence, { name, publicKey }, context);
  const parent = attestationKeyParent(area, parsed.attest.qualifiedSigner, binding.endorsementKey);

  return {
    technology: 'tpm',
    reportData: parsed.attest.extraData,
    claims: new Map([
      ...bindingClaims(binding, name, parent),
      ...registerClaims(parsed.values),
      ...quoteClaims(parsed.attest),
      ...eventLogClaims(events, parsed),
    ]),
    basis: [{ name: 'root', value: binding.rootName }],
  };
}

function eventLogClaims(
  events: ReturnType<typeof parseEventLog> | undefined,
  { values }: ParsedQuote,
): readonly (readonly [string, ClaimValue])[] {
  if (events === undefined) return [];
  const replayed = replayedRegisters(events, values);
  const names = replayed.map(({ hash, index }) => `${hash.name}:${index}`);
  const isSecure = secureBoot(events, replayed);
  return [['tpm.event-log-pcrs', names], ...(isSecure === undefined ? [] : [['tpm.secure-boot', isSecure] as const])];
}
