/**
 * ManifestView: one state of a volume as its store shows it, without a key: the newest manifest, everything
 * that it names, and a head that says closed. What an export sends is a view and nothing else.
 */
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { HeadState, type Head } from '../manifest/head-format.ts';
import { appendSignature, type CatalogReference } from '../manifest/manifest-format.ts';
import { readHead, readManifest, type ReadManifest } from '../manifest/manifest.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import { volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { objectKey } from '../volume/object-names.ts';
import { readCatalog } from '../volume/opening.ts';
import { FrameKind, type FrameHeader } from './backup-format.ts';

export interface ManifestView {
  readonly volumeId: Uint8Array;
  readonly newest: ReadManifest;
  readonly table: ObjectTable;
  /** Signed, and closed. */
  readonly head: Uint8Array;
}

/** Signs a closed head; only whoever has the volume's key can. */
export type SignHead = (head: Head) => Promise<Uint8Array>;

export async function readView(
  store: Store,
  volumeId: Uint8Array,
  signHead: SignHead | undefined,
): Promise<ManifestView> {
  const { head } = await readHead(store, volumePrefix(volumeId), volumeId);
  const newest = await readManifest(store, volumePrefix(volumeId), volumeId, head.number, head.manifestDigest);
  const table = await readCatalog(store, newest);
  if (head.state === HeadState.closed) {
    const bytes = new ByteWriter().bytes(head.signedBytes).bytes(head.signature).finish();
    return { volumeId, newest, table, head: bytes };
  }
  if (head.state !== HeadState.open) throw ended(toHex(volumeId), head.state === HeadState.erased);
  if (signHead === undefined) throw keyMissing(toHex(volumeId));
  return { volumeId, newest, table, head: await signHead({ ...head, state: HeadState.closed }) };
}

/** A sealed object that a catalog lists, or a page of the catalog itself. */
export interface ViewObject {
  readonly kind: FrameHeader['kind'];
  readonly owner: Uint8Array;
  readonly id: Uint8Array;
  readonly key: string;
  readonly bytes: number;
  readonly digest: Uint8Array;
  readonly birth: number;
}

export function pageObject(reference: CatalogReference): ViewObject {
  const { owner, id } = reference;
  return {
    ...reference,
    kind: FrameKind.catalog,
    key: objectKey(volumePrefix(owner), { kind: FrameKind.catalog, id }),
  };
}

/** What the catalog lists; `after` leaves out what a manifest of that number named already. */
export function* listedObjects(table: ObjectTable, after: number | undefined): Generator<ViewObject> {
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry === undefined || entry.kind === 0 || !isAfter(entry.birth, after)) continue;
    const { kind, lineage: owner, id, bytes, digest, birth } = entry;
    yield { kind, owner, id, key: objectKey(volumePrefix(owner), entry), bytes, digest, birth };
  }
}

export function isAfter(birth: number, after: number | undefined): boolean {
  return after === undefined || birth > after;
}

/** The whole object again from what was read of it. */
export function manifestBytes({ manifest }: ReadManifest): Uint8Array {
  return appendSignature(manifest.signedBytes, manifest.signature);
}

/** A reader was late: the writer has deleted it since. */
export function isGone(error: unknown): boolean {
  return (
    isCaissonError(error, 'object-missing') ||
    (error instanceof CaissonError && isCaissonError(error.cause, 'object-missing'))
  );
}

function keyMissing(volumeId: string): CaissonError {
  return new CaissonError(
    'denied',
    'key-source-unavailable',
    `volume ${volumeId} is open, so its state must be signed anew`,
    {
      remedy: 'Give its key, or export it once it is closed, which needs none.',
      details: { volumeId },
    },
  );
}

function ended(volumeId: string, isErased: boolean): CaissonError {
  const code = isErased ? 'volume-erased' : 'volume-moved';
  return new CaissonError(
    'denied',
    code,
    `volume ${volumeId} ${isErased ? 'was erased' : 'was moved away'}: there is nothing to export`,
    {
      remedy: isErased ? 'Nothing can bring its content back.' : 'Export it where it is now.',
      details: { volumeId },
    },
  );
}
