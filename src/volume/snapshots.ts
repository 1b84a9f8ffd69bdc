/**
 * Snapshots: pinned manifests with a name. Taking one publishes a manifest that pins itself, whatever
 * the size of the volume; what the pinned state needs is kept by births and deaths in the catalog
 * (spec/manifest-format.md).
 */
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { comparePins, PinKind, pinsMax, type Pin } from '../manifest/manifest-format.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import { snapshotNameFault, type SnapshotRecord } from '../manifest/state-format.ts';
import type { Published, VolumeCore } from './volume-core.ts';
import type { SnapshotInfo } from './volume-types.ts';

const noDigest = new Uint8Array(32);

/** Notes a snapshot of the state that the next manifest will have; to be called in the turn in which that is frozen. */
export function pinNextAsSnapshot(core: VolumeCore, name: string): void {
  const { published, environment } = core;
  checkSnapshotName(name);
  if (published.snapshots.some((snapshot) => snapshot.name === name)) {
    throw new CaissonError(
      'invalid',
      'snapshot-exists',
      `the volume has a snapshot named ${JSON.stringify(name)} already`,
      {
        remedy: 'Choose another name, or remove that snapshot first.',
      },
    );
  }
  const id = environment.random.bytes(16);
  addPin(published, { kind: PinKind.snapshot, id, number: published.number + 1, digest: noDigest });
  published.snapshots = [...published.snapshots, { id, time: environment.clock.wall(), name }];
}

/** Takes the pin and the name away; what only it needed leaves with the next manifest. Returns the pin. */
export function unpinSnapshot(core: VolumeCore, name: string): Pin {
  const { published, table } = core;
  const pin = findSnapshot(published, name);
  const clones = published.pins.filter((other) => other.kind === PinKind.clone && other.number === pin.number);
  if (clones.length > 0) {
    throw new CaissonError(
      'invalid',
      'snapshot-needed',
      `snapshot ${JSON.stringify(name)} is what ${clones.length === 1 ? 'a clone starts' : `${clones.length} clones start`} from`,
      {
        remedy: `Remove or detach first: ${clones.map(({ id }) => toHex(id)).join(', ')}.`,
        details: { clones: clones.length },
      },
    );
  }
  published.pins = published.pins.filter((other) => other !== pin);
  published.snapshots = published.snapshots.filter((snapshot) => snapshot.name !== name);
  table.releaseUnpinned(new PinnedNumbers(published.pins));
  return pin;
}

/** The pin of the snapshot with this name or id (32 hex digits). */
export function findSnapshot(published: Pick<Published, 'pins' | 'snapshots'>, name: string): Pin {
  const record =
    published.snapshots.find((snapshot) => snapshot.name === name) ??
    published.snapshots.find((snapshot) => toHex(snapshot.id) === name);
  const pin = record === undefined ? undefined : pinOf(published, record);
  if (pin !== undefined) return pin;
  const names = published.snapshots.map((snapshot) => JSON.stringify(snapshot.name));
  throw new CaissonError('invalid', 'snapshot-missing', `the volume has no snapshot named ${JSON.stringify(name)}`, {
    remedy: names.length === 0 ? 'It has none at all.' : `It has: ${names.join(', ')}.`,
  });
}

/** Oldest first. */
export function snapshotsOf(published: Pick<Published, 'pins' | 'snapshots'>): SnapshotInfo[] {
  const result: SnapshotInfo[] = [];
  for (const record of published.snapshots) {
    const pin = pinOf(published, record);
    if (pin === undefined) continue;
    result.push({
      id: toHex(record.id),
      name: record.name,
      time: record.time,
      manifestNumber: pin.number,
      manifestDigest: toHex(pin.digest),
      clones: published.pins
        .filter((other) => other.kind === PinKind.clone && other.number === pin.number)
        .map(({ id }) => toHex(id)),
    });
  }
  return result.sort((left, right) => left.manifestNumber - right.manifestNumber || left.time - right.time);
}

export function addPin(published: Published, pin: Pin): void {
  if (published.pins.length >= pinsMax) {
    throw new CaissonError(
      'full',
      'limit-exceeded',
      `the volume has ${pinsMax} snapshots and clones, the most it can have`,
      {
        remedy: 'Remove snapshots that nobody needs.',
        details: { limit: pinsMax },
      },
    );
  }
  published.pins = [...published.pins, pin].sort(comparePins);
}

function checkSnapshotName(name: string): void {
  const fault = snapshotNameFault(name);
  if (fault === undefined) return;
  throw new CaissonError('invalid', 'name-invalid', `a snapshot cannot be named ${JSON.stringify(name)}: ${fault}`);
}

function pinOf(published: Pick<Published, 'pins'>, record: SnapshotRecord): Pin | undefined {
  const id = toHex(record.id);
  return published.pins.find((pin) => pin.kind === PinKind.snapshot && toHex(pin.id) === id);
}
