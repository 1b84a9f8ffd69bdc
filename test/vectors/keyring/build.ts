/**
 * Builds the vectors of this folder: `node test/vectors/keyring/build.ts`. They are frozen; run it only
 * to add one. It writes the bytes of spec/keys.md by itself, over node:crypto alone, and by default
 * writes them right; each file names the one part that is wrong.
 */
import { createCipheriv, createHash, createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';

interface Slot {
  id: number;
  kind: number;
  parameters: Buffer;
  slotKey: Buffer;
  label: Buffer;
  labelLength?: number;
  wrapVolumeId?: Buffer;
  wrapParameters?: Buffer;
  parametersLength?: number;
}

interface Keyring {
  magic: string;
  version: number;
  slots: Slot[];
  slotCount?: number;
  generation: number;
  dataKeys: { epoch: number; key: Buffer }[];
  inherited: { lineage: Buffer; epoch: number; key: Buffer }[];
  epochCount?: number;
  bodyTail: Buffer;
  bodyLengthChange: number;
  tail: Buffer;
  bodySlots?: Buffer;
  change?: (encoded: Buffer, bodyOffset: number) => Buffer;
}

const signingSeed = pattern(32, 3);
const keyringKey = pattern(32, 5);
const fileKey = pattern(32, 7);
const otherFileKey = pattern(32, 11);
const volumeId = volumeIdOf(signingSeed);

vector('one-key-file-slot', 'opens', 'The plainest keyring.', () => undefined);
vector('two-key-file-slots', 'opens', 'The second slot is opened; the first does not fit.', (ring) => {
  ring.slots.unshift(fileSlot(0, otherFileKey, 'first'));
});
vector('slot-id-max', 'opens', 'The largest slot id.', (ring) => (firstSlot(ring).id = 31));
vector('three-epochs', 'opens', 'Data keys of three epochs with a gap.', (ring) => {
  ring.dataKeys.push({ epoch: 2, key: pattern(32, 15) }, { epoch: 7, key: pattern(32, 17) });
});
vector('label-of-64-bytes', 'opens', 'A label that fills its field.', (ring) => (firstSlot(ring).label = Buffer.from('ü'.repeat(32))));
vector('weak-passphrase-slot-beside', 'opens', 'A passphrase slot below the floor beside a key-file slot: not of the kind asked for.', (ring) => {
  ring.slots.unshift({ id: 0, kind: 1, parameters: passphraseParameters(8, 1), slotKey: pattern(32, 1), label: Buffer.alloc(0) });
});
vector('service-kinds-beside', 'opens', 'A slot of each service kind beside a key-file slot: none of the kind asked for.', (ring) => {
  ring.slots.unshift(fileSlot(0, fileKey, 'file'));
  ring.slots = [firstSlot(ring), ...Array.from({ length: 8 }, (_, index) => ({ id: 1 + index, kind: 5 + index, parameters: pattern(33 + index, 41), slotKey: pattern(32, 43), label: Buffer.from('service') }))];
});
vector('kind-255', 'format-invalid', 'A source kind of the future.', (ring) => (firstSlot(ring).kind = 255));
vector('empty', 'format-invalid', 'No bytes at all.', (ring) => (ring.change = () => Buffer.alloc(0)));
vector('wrong-magic', 'format-invalid', 'Another magic.', (ring) => (ring.magic = 'CAISKEYZ'));
vector('version-0', 'format-version', 'Version 0.', (ring) => (ring.version = 0));
vector('version-2', 'format-version', 'A version of the future.', (ring) => (ring.version = 2));
vector('no-slots', 'format-invalid', 'No slot.', (ring) => (ring.slots = []));
vector('slot-count-33', 'format-invalid', 'More slots than ids.', (ring) => (ring.slotCount = 33));
vector('slot-id-32', 'format-invalid', 'A slot id that is too large.', (ring) => (firstSlot(ring).id = 32));
vector('slot-ids-repeated', 'format-invalid', 'Two slots of one id.', (ring) => ring.slots.unshift(fileSlot(1, otherFileKey, '')));
vector('slot-ids-descending', 'format-invalid', 'Slots out of order.', (ring) => ring.slots.unshift(fileSlot(2, otherFileKey, '')));
vector('kind-0', 'format-invalid', 'An unknown source kind.', (ring) => (firstSlot(ring).kind = 0));
vector('kind-4', 'format-invalid', 'A source kind of the future.', (ring) => (firstSlot(ring).kind = 4));
vector('parameters-too-long', 'format-invalid', 'Parameters of 1,025 bytes.', (ring) => (firstSlot(ring).parameters = Buffer.alloc(1025, 1)));
vector('parameters-length-beyond-end', 'format-invalid', 'A parameter length that points behind the end.', (ring) => (firstSlot(ring).parametersLength = 1024));
vector('nine-passphrase-slots', 'format-invalid', 'One passphrase slot too many.', (ring) => {
  ring.slots = Array.from({ length: 9 }, (_, id) => ({ id, kind: 1, parameters: passphraseParameters(65536, 3), slotKey: pattern(32, 1), label: Buffer.alloc(0) }));
});
vector('none-beside-key-file', 'format-invalid', 'A slot that opens for anyone beside a protected one.', (ring) => {
  ring.slots.unshift({ id: 0, kind: 3, parameters: Buffer.alloc(0), slotKey: Buffer.alloc(32), label: Buffer.alloc(0) });
});
vector('key-file-parameters-short', 'format-invalid', 'A salt that is one byte short.', (ring) => {
  firstSlot(ring).parameters = firstSlot(ring).parameters.subarray(0, 32);
});
vector('key-file-parameters-version', 'format-invalid', 'An unknown version of key-file parameters.', (ring) => (firstSlot(ring).parameters[0] = 2));
vector('only-passphrase-slot', 'key-slot-missing', 'No slot of the kind asked for.', (ring) => {
  ring.slots = [{ id: 0, kind: 1, parameters: passphraseParameters(65536, 3), slotKey: pattern(32, 1), label: Buffer.alloc(0) }];
});
vector('other-key-file', 'key-wrong', 'The slot belongs to another key file.', (ring) => (ring.slots = [fileSlot(1, otherFileKey, 'first')]));
vector('wrap-of-another-volume', 'key-wrong', 'The wrap was made for another volume.', (ring) => (firstSlot(ring).wrapVolumeId = Buffer.alloc(16, 9)));
vector('wrap-over-other-parameters', 'key-wrong', 'The wrap was made with other additional data.', (ring) => {
  firstSlot(ring).wrapParameters = Buffer.from(firstSlot(ring).parameters.map((byte, index) => (index === 5 ? byte ^ 1 : byte)));
});
vector('wrap-flipped-bit', 'key-wrong', 'One bit of the wrapped key is flipped.', (ring) => (ring.change = (encoded, bodyOffset) => flip(encoded, bodyOffset - 4 - 20)));
vector('slot-slipped-in', 'keyring-tampered', 'The body was sealed over other slots.', (ring) => (ring.bodySlots = Buffer.from('other slots')));
vector('body-flipped-bit', 'keyring-tampered', 'One bit of the body is flipped.', (ring) => (ring.change = (encoded, bodyOffset) => flip(encoded, bodyOffset + 30)));
vector('body-flipped-tag', 'keyring-tampered', 'The last bit of the tag is flipped.', (ring) => (ring.change = (encoded) => flip(encoded, encoded.length - 1)));
vector('body-length-too-short', 'format-invalid', 'A body that cannot hold one data key.', (ring) => (ring.dataKeys = []));
vector('body-length-too-long', 'format-invalid', 'A body length that points behind the end.', (ring) => (ring.bodyLengthChange = 1));
vector('body-length-one-less', 'format-invalid', 'The last byte lies behind the body.', (ring) => {
  ring.dataKeys.push({ epoch: 2, key: pattern(32, 15) });
  ring.bodyLengthChange = -1;
});
vector('trailing-byte', 'format-invalid', 'One byte behind the end.', (ring) => (ring.tail = Buffer.alloc(1)));
vector('cut-in-the-body', 'format-invalid', 'The last byte is missing.', (ring) => (ring.change = (encoded) => encoded.subarray(0, -1)));
vector('body-trailing-byte', 'format-invalid', 'An authentic body with a byte behind its end.', (ring) => (ring.bodyTail = Buffer.alloc(1)));
const heir = (lineage: number, epoch: number): Keyring['inherited'][number] => ({ lineage: pattern(16, lineage), epoch, key: pattern(32, 19) });
vector('inherited-keys', 'opens', 'Two data keys of another volume, one of a third.', (ring) => (ring.inherited = [heir(3, 1), heir(3, 2), heir(5, 1)]));
vector('inherited-order', 'format-invalid', 'Inherited keys out of order.', (ring) => (ring.inherited = [heir(3, 2), heir(3, 1)]));
vector('inherited-epoch-0', 'format-invalid', 'An inherited key of epoch 0.', (ring) => (ring.inherited = [heir(3, 0)]));
vector('body-epoch-count-too-large', 'format-invalid', 'An authentic body that promises one more data key.', (ring) => (ring.epochCount = 2));
vector('generation-0', 'format-invalid', 'An authentic body of generation 0.', (ring) => (ring.generation = 0));
vector('epoch-0', 'format-invalid', 'An authentic body with key epoch 0.', (ring) => (ring.dataKeys = [{ epoch: 0, key: pattern(32, 13) }]));
vector('epochs-repeated', 'format-invalid', 'An authentic body with one key epoch twice.', (ring) => ring.dataKeys.push({ epoch: 1, key: pattern(32, 15) }));
vector('label-not-padded', 'format-invalid', 'An authentic label with a byte behind its length.', (ring) => {
  Object.assign(firstSlot(ring), { label: Buffer.from('first'), labelLength: 4 });
});
vector('label-length-65', 'format-invalid', 'An authentic label whose length exceeds its field.', (ring) => (firstSlot(ring).labelLength = 65));
vector('label-not-utf-8', 'format-invalid', 'An authentic label that is not UTF-8.', (ring) => (firstSlot(ring).label = Buffer.of(0xc3, 0x28)));
vector('label-with-control-character', 'format-invalid', 'An authentic label with a line end.', (ring) => (firstSlot(ring).label = Buffer.from('a\nb')));

function vector(name: string, expect: string, comment: string, fault: (ring: Keyring) => unknown): void {
  const ring: Keyring = {
    magic: 'CAISKEYS',
    version: 1,
    slots: [fileSlot(1, fileKey, 'first')],
    generation: 4,
    dataKeys: [{ epoch: 1, key: pattern(32, 13) }],
    inherited: [],
    bodyTail: Buffer.alloc(0),
    bodyLengthChange: 0,
    tail: Buffer.alloc(0),
  };
  fault(ring);
  const document = {
    comment,
    expect,
    volumeId: volumeId.toString('hex'),
    keyFile: fileKey.toString('hex'),
    ...(expect === 'opens' ? { body: bodyFields(ring) } : {}),
    keyring: encode(ring).toString('hex'),
  };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(document, undefined, 2)}\n`);
}

function bodyFields(ring: Keyring): object {
  return {
    generation: ring.generation,
    signingSeed: signingSeed.toString('hex'),
    labels: ring.slots.map((slot) => slot.label.toString()),
    dataKeys: ring.dataKeys.map(({ epoch, key }) => ({ epoch, key: key.toString('hex') })),
  };
}

function encode(ring: Keyring): Buffer {
  const head = Buffer.concat([Buffer.from(ring.magic), number(2, ring.version), number(1, ring.slotCount ?? ring.slots.length)]);
  const slots = Buffer.concat([head, ...ring.slots.map(encodeSlot)]);
  const labels = ring.slots.map((slot) => Buffer.concat([number(1, slot.labelLength ?? slot.label.length), slot.label, Buffer.alloc(64 - slot.label.length)]));
  const keys = ring.dataKeys.map(({ epoch, key }) => Buffer.concat([number(4, epoch), key]));
  const heirs = ring.inherited.map(({ lineage, epoch, key }) => Buffer.concat([lineage, number(4, epoch), key]));
  const body = Buffer.concat([number(4, ring.generation), signingSeed, ...labels, number(2, ring.epochCount ?? keys.length), ...keys, number(2, heirs.length), ...heirs, ring.bodyTail]);
  const digest = createHash('sha256').update(ring.bodySlots ?? slots).digest();
  const additional = Buffer.concat([Buffer.from('caisson keyring body v1\0'), volumeId, digest]);
  const sealed = wrap(derive(keyringKey, volumeId, 'keyring body'), pattern(12, 19), additional, body);
  const encoded = Buffer.concat([slots, number(4, sealed.length + ring.bodyLengthChange), sealed, ring.tail]);
  return ring.change?.(encoded, slots.length + 4) ?? encoded;
}

function encodeSlot(slot: Slot): Buffer {
  const head = (parameters: Buffer): Buffer => Buffer.concat([number(1, slot.id), number(1, slot.kind), number(2, slot.parametersLength ?? parameters.length), parameters]);
  const bound = slot.wrapVolumeId ?? volumeId;
  const additional = Buffer.concat([Buffer.from('caisson keyring slot v1\0'), bound, head(slot.wrapParameters ?? slot.parameters)]);
  const wrapped = wrap(derive(slot.slotKey, volumeId, 'keyring slot'), pattern(12, 23 + slot.id), additional, keyringKey);
  return Buffer.concat([head(slot.parameters), wrapped]);
}

function fileSlot(id: number, key: Buffer, label: string): Slot {
  const salt = pattern(32, 29 + id);
  return { id, kind: 2, parameters: Buffer.concat([Buffer.of(1), salt]), slotKey: derive(key, salt, 'key file'), label: Buffer.from(label) };
}

function passphraseParameters(memoryKibibytes: number, passes: number): Buffer {
  return Buffer.concat([Buffer.of(1), number(4, memoryKibibytes), number(4, passes), Buffer.of(1, 16), pattern(16, 31)]);
}

function wrap(key: Buffer, nonce: Buffer, additional: Buffer, plaintext: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm-siv' as 'aes-256-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(additional);
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function derive(key: Buffer, salt: Buffer, label: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, `caisson v1 ${label}\0`, 32));
}

function volumeIdOf(seed: Buffer): Buffer {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const spki = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'der', type: 'spki' });
  return createHash('sha256').update('caisson volume id v1\0').update(spki.subarray(12)).digest().subarray(0, 16);
}

function firstSlot(ring: Keyring): Slot {
  const [slot] = ring.slots;
  if (slot === undefined) throw new Error('the keyring has no slot');
  return slot;
}

function flip(encoded: Buffer, offset: number): Buffer {
  encoded[offset] = (encoded[offset] ?? 0) ^ 1;
  return encoded;
}

function number(length: 1 | 2 | 4, value: number): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.writeUIntLE(value, 0, length);
  return bytes;
}

function pattern(length: number, step: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (index * step + step) & 0xff));
}
