/** Keys of the objects that a catalog lists. */
import { ObjectKind } from '../manifest/catalog-format.ts';
import { catalogKey, mapObjectKey, segmentKey } from '../store/paths.ts';

/** `prefix` is that of the volume that wrote the object. */
export function objectKey(prefix: string, object: { readonly kind: ObjectKind; readonly id: Uint8Array }): string {
  if (object.kind === ObjectKind.segment) return segmentKey(prefix, object.id);
  return object.kind === ObjectKind.map ? mapObjectKey(prefix, object.id) : catalogKey(prefix, object.id);
}
