/** From a TPM to a broker's verifier: what the attester gathers on a manufactured software TPM is believed, and nothing less is. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { createTpmEvidenceSource } from '../../src/attester/tpm-source.ts';
import type { EvidenceSource } from '../../src/attester/evidence-source.ts';
import { activationKeys } from '../../src/broker/attest/tpm/activation.ts';
import { makeCredential } from '../../src/broker/attest/tpm/credential.ts';
import { verifier } from '../../src/broker/attest/tpm/verifier.ts';
import type { VerifyContext } from '../../src/broker/attest/verifier.ts';
import { sha256 } from '../../src/crypto/digest.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { Command } from '../../src/tpm/tpm-constants.ts';
import { openTpmDevice } from '../../src/tpm/tpm-device.ts';
import type { TpmDevice } from '../../src/tpm/tpm-device.ts';
import type { TpmTransport } from '../../src/tpm/tpm-transport.ts';
import { checkEvidence } from '../../src/wire/evidence.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { emptyContext } from '../support/fake-tpm-evidence.ts';
import { hasSwtpm, requireSwtpm, startSwtpm } from '../support/swtpm.ts';
import type { SoftwareTpm } from '../support/swtpm.ts';

test('software TPMs are installed', (t) => void requireSwtpm(t, 'openssl'));

describe('evidence of a software TPM', { skip: !hasSwtpm() }, () => {
  const reportData = new Uint8Array(randomBytes(64));
  let tpm: SoftwareTpm;
  let context: VerifyContext;
  before(async () => {
    tpm = await startSwtpm({ isManufactured: true });
    const root = tpm.authorities.at(-1)!;
    const extraRoots = [{ technology: 'tpm' as const, name: 'software TPMs', der: root }];
    context = { ...emptyContext, now: Date.now(), extraRoots };
  });
  after(() => tpm.stop());

  /** As a broker and a workload do it: keys, credential, evidence. */
  const exchange = async (source: EvidenceSource): Promise<{ evidence: Evidence; context: VerifyContext }> => {
    const prepared = await source.prepare!();
    const { akName, endorsementKey, ekPublic } = activationKeys(prepared);
    const secret = new Uint8Array(randomBytes(32));
    const evidence = await source.gather(reportData, makeCredential(endorsementKey, akName, secret));
    const [issuer] = tpm.authorities;
    const parts = { ...evidence.parts, ekIntermediates: issuer! };
    return { evidence: { ...evidence, parts }, context: { ...context, activation: { secret, akName, ekPublic } } };
  };

  test('the verifier believes it: bound by activation, under the root of the maker', async () => {
    const source = createTpmEvidenceSource({ device: tpm.device, registers: [0, 4, 7, 16] });
    const made = await exchange(source);
    checkEvidence(made.evidence);
    const verified = await verifier.verify(made.evidence, made.context);
    assert.deepEqual(verified.reportData, sha256(reportData));
    assert.equal(verified.claims.get('tpm.binding'), 'activation');
    assert.equal(verified.claims.get('tpm.ak-parent'), 'endorsement');
    assert.deepEqual(verified.claims.get('tpm.pcr.sha256.16'), new Uint8Array(32));
    assert.equal(verified.claims.has('tpm.pcr.sha256.1'), false);
  });

  test('registers as tpm2-tools extended them are claimed', async () => {
    await tpm.tool('tpm2_pcrextend', `16:sha384=${'11'.repeat(48)}`);
    const text = await tpm.tool('tpm2_pcrread', 'sha384:16');
    const expected = Buffer.from(/0x([0-9A-F]{96})/i.exec(text)![1]!, 'hex');
    const source = createTpmEvidenceSource({ device: tpm.device, registers: [7, 16], bank: 'sha384' });
    const made = await exchange(source);
    const { claims } = await verifier.verify(made.evidence, made.context);
    assert.deepEqual(claims.get('tpm.pcr.sha384.16'), new Uint8Array(expected));
  });

  test('without a credential, or with that of another challenge, it is not believed', async () => {
    const source = createTpmEvidenceSource({ device: tpm.device });
    const made = await exchange(source);
    const other = { ...made.context, activation: { ...made.context.activation!, secret: new Uint8Array(32) } };
    await assert.rejects(verifier.verify(made.evidence, other), { code: 'evidence-untrusted' });
    const { activation: _, ...parts } = made.evidence.parts;
    await assert.rejects(verifier.verify({ ...made.evidence, parts }, made.context), { code: 'evidence-untrusted' });
    assert.equal('activation' in (await source.gather(reportData)).parts, false);
  });

  test('registers that change between reading and signing are read and signed again', async () => {
    let quotes = 0;
    let isRead = false;
    const openTransport = async (device: TpmDevice, clock: Clock): Promise<TpmTransport> => {
      const inner = await openTpmDevice(device, clock);
      return {
        send: async (command, milliseconds) => {
          const code = new DataView(command.buffer, command.byteOffset).getUint32(6);
          quotes += code === Command.Quote ? 1 : 0;
          const answer = await inner.send(command, milliseconds);
          if (code !== Command.PCR_Read || isRead) return answer;
          isRead = true; // as if a register had been extended right after it was read
          return answer.with(answer.length - 1, answer.at(-1)! ^ 1);
        },
        close: () => inner.close(),
      };
    };
    const source = createTpmEvidenceSource({ device: tpm.device, registers: [7], tpm: { openTransport } });
    const made = await exchange(source);
    assert.equal(quotes, 2);
    assert.equal((await verifier.verify(made.evidence, made.context)).claims.get('tpm.binding'), 'activation');
  });

  test('a credential that is none is refused before the TPM sees it', async () => {
    const source = createTpmEvidenceSource({ device: tpm.device });
    const credential = { blob: Uint8Array.of(0, 9, 1), secret: Uint8Array.of(0, 0) };
    await assert.rejects(source.gather(reportData, credential), { code: 'evidence-invalid' });
  });
});
