/**
 * The folder with its one file: names, attributes, permissions, opening (spec/fuse.md, "The file").
 * Nothing here waits or touches file content.
 */
import { CaissonError } from '../../lib/errors.ts';
import type { BlockDevice } from '../block-device.ts';
import { Errno } from './fuse-errors.ts';
import {
  encodeAttributesReply,
  encodeEntryReply,
  encodeErrorReply,
  encodeFolderReply,
  encodeOpenReply,
  encodeStatReply,
  FileType,
  nameBytesMax,
  parseLookup,
  parseOpen,
  parseRead,
  parseSetAttributes,
  SetAttribute,
} from './fuse-format.ts';
import type { Attributes, FolderEntry, RequestHeader } from './fuse-format.ts';

export const folderNode = 1;
export const fileNode = 2;
/** The name of the volume's file below the mount point. */
export const diskFileName = 'disk';

const nameSeconds = 3600;
const modeFolder = 0o40000;
const modeRegular = 0o100000;
const openAccessMask = 3; // O_ACCMODE
const openDirect = 1 << 0;
/**
 * Closing sends no FLUSH. A process that serves this file and also has it open would otherwise wait for
 * itself whenever a descriptor closes behind its back: at exec of a child, or when it is killed.
 */
const openNoFlush = 1 << 5;
const openParallelDirectWrites = 1 << 6;
const sectorBytes = 512;
/** Sectors missing in `blocks`, so that copying programs look for holes. */
const sectorsMissing = 8;

const entries: readonly FolderEntry[] = [
  { node: folderNode, type: FileType.folder, name: '.' },
  { node: folderNode, type: FileType.folder, name: '..' },
  { node: fileNode, type: FileType.regular, name: diskFileName },
];

export interface FileOwner {
  readonly userId: number;
  readonly groupId: number;
  /** When the export began, shown as every time of the file. */
  readonly seconds: number;
}

export class FuseNamespace {
  readonly #device: BlockDevice;
  readonly #owner: FileOwner;

  constructor(device: BlockDevice, owner: FileOwner) {
    this.#device = device;
    this.#owner = owner;
  }

  lookup(header: RequestHeader, message: Uint8Array, reply: Uint8Array): number {
    const name = parseLookup(message);
    if (header.node !== folderNode) return encodeErrorReply(reply, header, Errno.ENOTDIR);
    if (Buffer.byteLength(name) > nameBytesMax) return encodeErrorReply(reply, header, Errno.ENAMETOOLONG);
    if (name !== diskFileName) return encodeErrorReply(reply, header, Errno.ENOENT);
    return encodeEntryReply(reply, header, this.#attributesOf(fileNode), nameSeconds);
  }

  getAttributes(header: RequestHeader, reply: Uint8Array): number {
    if (!isNode(header.node)) return encodeErrorReply(reply, header, Errno.ENOENT);
    return encodeAttributesReply(reply, header, this.#attributesOf(header.node));
  }

  setAttributes(header: RequestHeader, message: Uint8Array, reply: Uint8Array): number {
    const { valid, size } = parseSetAttributes(message);
    if (!isNode(header.node)) return encodeErrorReply(reply, header, Errno.ENOENT);
    const sizeChanges = (valid & SetAttribute.size) !== 0 && (header.node !== fileNode || size !== this.#device.size);
    const ownerChanges = (valid & (SetAttribute.mode | SetAttribute.user | SetAttribute.group)) !== 0;
    if (sizeChanges || ownerChanges) return encodeErrorReply(reply, header, Errno.EPERM);
    return encodeAttributesReply(reply, header, this.#attributesOf(header.node));
  }

  open(header: RequestHeader, message: Uint8Array, reply: Uint8Array): number {
    const flags = parseOpen(message);
    if (header.node === folderNode) return encodeErrorReply(reply, header, Errno.EISDIR);
    if (header.node !== fileNode) return encodeErrorReply(reply, header, Errno.ENOENT);
    if (this.#device.readOnly && (flags & openAccessMask) !== 0) return encodeErrorReply(reply, header, Errno.EROFS);
    return encodeOpenReply(reply, header, openDirect | openNoFlush | openParallelDirectWrites);
  }

  openFolder(header: RequestHeader, message: Uint8Array, reply: Uint8Array): number {
    parseOpen(message);
    if (header.node !== folderNode) return encodeErrorReply(reply, header, Errno.ENOTDIR);
    return encodeOpenReply(reply, header, 0);
  }

  readFolder(header: RequestHeader, message: Uint8Array, reply: Uint8Array): number {
    const { offset, size } = parseRead(message);
    if (header.node !== folderNode) return encodeErrorReply(reply, header, Errno.ENOTDIR);
    return encodeFolderReply(reply, header, entries, offset, size);
  }

  statFileSystem(header: RequestHeader, reply: Uint8Array): number {
    const { size, blockSize } = this.#device;
    return encodeStatReply(reply, header, Math.floor(size / blockSize), blockSize);
  }

  #attributesOf(node: number): Attributes {
    const { size, blockSize, readOnly } = this.#device;
    const shared = { node, blockSize, ...this.#owner };
    if (node === folderNode) return { ...shared, size: 0, sectorCount: 0, mode: modeFolder | 0o700, linkCount: 2 };
    const sectorCount = Math.max(Math.floor(size / sectorBytes) - sectorsMissing, 0);
    return { ...shared, size, sectorCount, mode: modeRegular | (readOnly ? 0o400 : 0o600), linkCount: 1 };
  }
}

/** Data operations are for the file alone. */
export function checkFile(header: RequestHeader): void {
  if (header.node === fileNode) return;
  throw new CaissonError(
    'invalid',
    'protocol-violation',
    `FUSE request ${header.opcode} names node ${header.node}, which is not the file`,
  );
}

function isNode(node: number): boolean {
  return node === folderNode || node === fileNode;
}
