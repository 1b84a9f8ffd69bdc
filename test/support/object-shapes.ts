/**
 * Where the fields of stored objects lie, written down from spec/ a second time: tests that change bytes
 * want to hit every field and every boundary, whatever the engine's own codecs think.
 */
export interface Field {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
}

class Layout {
  readonly fields: Field[] = [];
  offset: number;

  constructor(offset = 0) {
    this.offset = offset;
  }

  add(...sizes: readonly (readonly [name: string, length: number])[]): this {
    for (const [name, length] of sizes) {
      if (length > 0) this.fields.push({ name, offset: this.offset, length });
      this.offset += length;
    }
    return this;
  }
}

/** Header, records with the units given, directory and footer of a segment or a spool file. */
export function segmentFields(bytes: Uint8Array, records: readonly SegmentRecord[]): Field[] {
  const layout = new Layout().add(['magic', 8], ['version', 2], ['protection', 1], ['zero', 1], ['key epoch', 4]);
  layout.add(['lineage', 16], ['segment id', 16], ['sealed header', 48], ['header tag', 16]);
  for (const [index, record] of records.entries()) {
    const name = (part: string): string => `record ${index} ${part}`;
    layout.add([name('magic'), 8], [name('zero'), 8], [name('header'), 560], [name('header tag'), 16]);
    for (const [unit, length] of record.units.entries()) {
      layout.add([name(`unit ${unit}`), length - 16], [name(`unit ${unit} tag`), 16]);
    }
  }
  const rest = bytes.length - layout.offset;
  if (bytes.subarray(layout.offset).every((byte) => byte === 0)) layout.add(['room ahead', rest]);
  else {
    layout.add(['directory', rest - 48], ['directory tag', 16]);
    layout.add(['footer magic', 8], ['footer version', 2], ['footer zero', 2], ['directory offset', 4]);
    layout.add(['directory bytes', 4], ['total bytes', 4], ['footer zero 2', 4], ['checksum', 4]);
  }
  return layout.fields;
}

export interface SegmentRecord {
  /** Sealed lengths of its units, tags included. */
  readonly units: readonly number[];
}

export function headFields(): Field[] {
  const layout = new Layout().add(['magic', 8], ['version', 2], ['state', 1], ['zero', 5], ['volume id', 16]);
  layout.add(
    ['epoch', 8],
    ['number', 8],
    ['manifest digest', 32],
    ['holder', 16],
    ['writer key', 32],
    ['signature', 64],
  );
  return layout.fields;
}

export function manifestFields(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const layout = new Layout().add(['magic', 8], ['version', 2], ['kind', 1], ['protection', 1], ['zero', 4]);
  layout.add(['volume id', 16], ['number', 8], ['epoch', 8], ['previous digest', 32], ['writer key', 32], ['floor', 8]);
  layout.add(['time', 8], ['parent id', 16], ['parent number', 8], ['parent digest', 32]);
  layout.add(['keyring bytes', 4], ['keyring', view.getUint32(layout.offset, true)]);
  const pins = view.getUint32(layout.offset, true);
  layout.add(['pin count', 4]);
  for (let index = 0; index < pins; index++)
    layout.add(['pin kind', 1], ['pin zero', 7], ['pin id', 16], ['pin number', 8], ['pin digest', 32]);
  const catalog = view.getUint32(layout.offset, true);
  layout.add(['catalog count', 4]);
  for (let index = 0; index < catalog; index++) {
    layout.add(
      ['catalog first index', 4],
      ['catalog entry count', 4],
      ['catalog owner', 16],
      ['catalog id', 16],
      ['catalog bytes', 8],
      ['catalog birth', 8],
      ['catalog digest', 32],
    );
  }
  const added = view.getUint32(layout.offset, true);
  layout.add(['added count', 4]);
  for (let index = 0; index < added; index++) {
    layout.add(['added kind', 1], ['added zero', 7], ['added id', 16], ['added bytes', 8], ['added digest', 32]);
  }
  const dropped = view.getUint32(layout.offset, true);
  layout.add(['dropped count', 4]);
  for (let index = 0; index < dropped; index++)
    layout.add(['dropped kind', 1], ['dropped zero', 7], ['dropped id', 16]);
  layout.add(
    ['salt', 16],
    ['sealed bytes', 4],
    ['sealed', view.getUint32(layout.offset + 16, true)],
    ['signature', 64],
  );
  return layout.fields;
}

export function catalogFields(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const layout = new Layout().add(
    ['magic', 8],
    ['version', 2],
    ['zero', 2],
    ['first index', 4],
    ['volume id', 16],
    ['lineage', 16],
  );
  const count = view.getUint32(layout.offset, true);
  layout.add(['entry count', 4], ['zero 2', 4]);
  for (let index = 0; index < count; index++) {
    layout.add(['kind', 1], ['entry zero', 3], ['key epoch', 4], ['bytes', 8], ['birth', 8], ['death', 8]);
    layout.add(['object id', 16], ['digest', 32]);
  }
  return layout.fields;
}

/** Leaf pages first, then directories, counts of live blocks, the root. */
export function mapFields(bytes: Uint8Array): Field[] {
  const layout = new Layout().add(
    ['magic', 8],
    ['version', 2],
    ['protection', 1],
    ['zero', 1],
    ['key epoch', 4],
    ['lineage', 16],
    ['object id', 16],
  );
  while (bytes.length - layout.offset >= 8192 + 16 + 24_576 + 16) layout.add(['leaf', 8192], ['leaf tag', 16]);
  if (bytes.length - layout.offset >= 24_576 + 16) layout.add(['directory', 24_576], ['directory tag', 16]);
  if (bytes.length - layout.offset >= 4096 + 16) layout.add(['usage', 4096], ['usage tag', 16]);
  layout.add(['root', bytes.length - layout.offset - 16], ['root tag', 16]);
  return layout.fields;
}
