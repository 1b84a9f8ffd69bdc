/** A workload with a TPM that does not exist, for brokers that run as processes of their own: root, policy, evidence. */
import fs from 'node:fs';
import type { EvidenceSource } from '../../src/attester/evidence-source.ts';
import { BrokerAccess } from '../../src/broker-client/broker-access.ts';
import { BrokerClient } from '../../src/broker-client/broker-client.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { carriedReportData } from '../../src/wire/report-data.ts';
import type { Home } from './caisson.ts';
import type { CliBroker } from './cli-broker.ts';
import { fakeTpmEvidence } from './fake-tpm-evidence.ts';

const day = 86_400_000;
const dates = { notBefore: Date.now() - day, notAfter: Date.now() + day };

export const workloadPolicy = `caisson-policy: 1
name: main
profiles:
  machine:
    technology: tpm
    rules:
      tpm.manufacturer: fakes
    waive:
      debug: a TPM that does not exist
      tpm.pcr.sha256.0: made up
      tpm.pcr.sha256.4: made up
      tpm.pcr.sha256.7: made up
release: {may-create-key: true, may-advance-anchor: true}
`;

/** Lines for the configuration of a broker that believes it. */
export function workloadRoot(home: Home): string[] {
  const { context } = fakeTpmEvidence({ dates });
  const [root] = context.extraRoots;
  const base64 = Buffer.from(root!.der).toString('base64').replace(/.{64}/g, '$&\n');
  const file = home.write('root.pem', `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`);
  return [`extraRoots: [{technology: tpm, name: fakes, file: ${file}}]`];
}

/** Bound by the certificate of its attestation key, so that nothing has to be activated. */
export function workloadEvidence(): EvidenceSource {
  return {
    technology: 'tpm',
    describe: 'a TPM that does not exist',
    gather: async (reportData) => {
      const attest = { extraData: carriedReportData('tpm', reportData) };
      const { evidence, parts } = fakeTpmEvidence({ dates, attest });
      const { quote, signature, pcrs, akPublic } = evidence.parts;
      return {
        technology: 'tpm',
        parts: {
          quote: quote!,
          signature: signature!,
          pcrs: pcrs!,
          akPublic: akPublic!,
          akCertificate: parts['akCertificate']!,
        },
      };
    },
  };
}

/** Tenant, policy and keys at a broker that is new. */
export async function prepareBroker(home: Home, broker: CliBroker, keys: readonly string[] = ['data']): Promise<void> {
  await broker.admin('tenant-add', 'acme', '--save-token', home.path('acme.token'));
  await broker.admin('policy-put', home.write('main.yaml', workloadPolicy), '--tenant', 'acme');
  for (const key of keys) await broker.admin('key-create', key, '--tenant', 'acme', '--policy', 'main');
}

export function clientOf({ url, authorityFile }: Pick<CliBroker, 'url' | 'authorityFile'>): BrokerClient {
  const trust = { authority: fs.readFileSync(authorityFile, 'utf8') };
  return new BrokerClient({ url, trust, brokerId: undefined, clock: patientClock, random: systemRandom });
}

export function workloadAt(broker: Pick<CliBroker, 'url' | 'authorityFile'>, key = 'data'): BrokerAccess {
  const source = workloadEvidence();
  const client = clientOf(broker);
  return new BrokerAccess({ client, source: async () => source, tenant: 'acme', key, clock: patientClock });
}
