/** What a broker has from outside itself: collateral of vendors, roots of operators, and where its log's head is kept. */
import { X509Certificate, createPublicKey } from 'node:crypto';
import type { SigningKey } from '../crypto/signature.ts';
import { CaissonError } from '../lib/errors.ts';
import { patientClock } from '../lib/clock.ts';
import { logIdOf } from '../wire/release-log.ts';
import type { CollateralSource } from './attest/collateral.ts';
import type { TrustedRoot } from './attest/verifier.ts';
import type { BrokerConfiguration } from './configuration.ts';
import type { LogHeadAnchor } from './heads/log-head-anchor.ts';
import { readPrivateFile } from './server/state-files.ts';
import type { BrokerDatabase } from './state/broker-database.ts';

/** How often a head that is kept elsewhere moves. */
const headMilliseconds = 1_000;

/** Bundles; where it is allowed also the services, with what was fetched before: the newer of both counts. */
export async function openCollateral(
  configuration: BrokerConfiguration,
  stateFolder: string,
): Promise<CollateralSource> {
  const { bundles, cache, fetch } = configuration.collateral;
  const { firstOf, newestOf, offlineBundle } = await import('./collateral/offline-bundle.ts');
  const offline = await Promise.all(bundles.map((path) => offlineBundle(path)));
  if (!fetch) return firstOf(...offline, nothing);
  const [{ cachedCollateral }, { isImmutableAmdCollateral: isImmutable }] = await Promise.all([
    import('./collateral/cached-collateral.ts'),
    import('./collateral/amd-kds.ts'),
  ]);
  const clock = patientClock;
  const source = await openVendorServices(configuration);
  const folder = cache ?? `${stateFolder}/collateral`;
  const fetched = cachedCollateral({ source, clock, folder, isImmutable });
  return newestOf(firstOf(...offline, nothing), fetched, { clock, isImmutable });
}

/** The services of Intel and AMD, or those that stand in their place here; nothing is kept. */
export async function openVendorServices({
  collateral: { pccs, kds },
}: BrokerConfiguration): Promise<CollateralSource> {
  const [{ firstOf }, { intelService }, { amdService }] = await Promise.all([
    import('./collateral/offline-bundle.ts'),
    import('./collateral/intel-pcs.ts'),
    import('./collateral/amd-kds.ts'),
  ]);
  const clock = patientClock;
  const intel = intelService({ clock, ...placeOf('collateral.pccs', pccs) });
  return firstOf(intel, amdService({ clock, ...placeOf('collateral.kds', kds) }), nothing);
}

type Service = BrokerConfiguration['collateral']['pccs'];

function placeOf(field: string, service: Service): { readonly baseUrl?: string; readonly ca?: string } {
  if (service === undefined) return {};
  if (service.ca === undefined) return { baseUrl: service.url };
  const ca = readPrivateFile(service.ca);
  if (ca?.includes('BEGIN CERTIFICATE') === true) return { baseUrl: service.url, ca };
  const what = ca === undefined ? 'there is no such file' : 'it holds no certificate in PEM';
  throw new CaissonError('invalid', 'configuration-invalid', `${field}.ca ${service.ca} cannot be used: ${what}`, {
    details: { file: service.ca },
  });
}

const nothing: CollateralSource = {
  get: async (name) => {
    throw new CaissonError('invalid', 'collateral-missing', `this broker has no ${name}`, {
      remedy: 'Give a bundle in collateral.bundles, or allow collateral.fetch.',
      details: { name },
    });
  },
};

export function readExtraRoots({ extraRoots }: BrokerConfiguration): readonly TrustedRoot[] {
  return extraRoots.map(({ technology, name, file }) => {
    const text = readPrivateFile(file);
    if (text === undefined) throw badRoot(file, 'there is no such file');
    return { technology, name, der: derOf(text, file) };
  });
}

/** A certificate or a public key in PEM. */
function derOf(text: string, file: string): Uint8Array {
  try {
    if (text.includes('BEGIN CERTIFICATE')) return Uint8Array.from(new X509Certificate(text).raw);
    return Uint8Array.from(createPublicKey(text).export({ format: 'der', type: 'spki' }));
  } catch {
    throw badRoot(file, 'it holds no certificate and no public key in PEM');
  }
}

function badRoot(file: string, what: string): CaissonError {
  return new CaissonError('invalid', 'configuration-invalid', `the root ${file} cannot be used: ${what}`, {
    details: { file },
  });
}

/** The database, held against the head that is kept elsewhere where the configuration says so. */
export async function openHeadAnchor(
  database: BrokerDatabase,
  configuration: BrokerConfiguration,
  key: SigningKey,
  acceptsRollback: boolean,
): Promise<BrokerDatabase> {
  const anchor = await headAnchorOf(configuration, key);
  if (anchor === undefined) return database;
  const { openAnchoredDatabase } = await import('./heads/anchored-database.ts');
  return openAnchoredDatabase(database, {
    ...{ anchor, clock: patientClock, acceptsRollback },
    everyMilliseconds: headMilliseconds,
  });
}

async function headAnchorOf(
  { logHead, peerAuthority }: BrokerConfiguration,
  key: SigningKey,
): Promise<LogHeadAnchor | undefined> {
  if (logHead === undefined) return undefined;
  const [, kind = '', place = ''] = /^(file|tpm|peer):(.*)$/.exec(logHead) ?? [];
  switch (kind) {
    case 'file':
      return (await import('./heads/file-head-anchor.ts')).openFileHeadAnchor(place);
    case 'tpm': {
      const { openTpmHeadAnchor } = await import('./heads/tpm-head-anchor.ts');
      return openTpmHeadAnchor({ device: undefined, handle: Number(place), logId: logIdOf(key.publicKey) });
    }
    default: {
      const { openPeerHeadAnchor } = await import('./heads/peer-head-anchor.ts');
      const authority = peerAuthority === undefined ? undefined : readPrivateFile(peerAuthority);
      return openPeerHeadAnchor({ url: place, key, authority, now: () => patientClock.wall() });
    }
  }
}
