/**
 * TCB info and QE identity: what Intel says of the security versions of a platform, a TDX module and the quoting enclaves
 * (spec/attestation-intel.md, "TCB info", "QE identity"). Read after their signature was checked; members that are not known are
 * let pass, since Intel adds some and signs them.
 */
import { intelListItemsMax, intelTcbLevelsMax } from '../../../lib/limits.ts';
import type { JsonNode } from '../../../wire/exact-json.ts';
import { dateOf, hexBytes, readDates, wrong, type DatedDocument } from './signed-json.ts';

/** What a level says once it fits. */
export interface TcbStatement {
  readonly status: string;
  readonly date: number;
  readonly advisories: readonly string[];
}

export interface TcbLevel extends TcbStatement {
  readonly sgxSvns: readonly number[];
  readonly pceSvn: number;
  /** Of TDX. */
  readonly tdxSvns: readonly number[] | undefined;
}

/** Of a quoting enclave or a TDX module: one version number. */
export interface SvnLevel extends TcbStatement {
  readonly isvSvn: number;
}

export interface TdxModule {
  readonly mrSigner: Uint8Array;
  readonly attributes: Uint8Array;
}

export interface TdxModuleIdentity extends TdxModule {
  /** Such as TDX_03. */
  readonly id: string;
  readonly levels: readonly SvnLevel[];
}

export interface TcbInfo extends DatedDocument {
  readonly id: 'SGX' | 'TDX';
  /** Lower-case hexadecimal. */
  readonly fmspc: string;
  readonly pceId: string;
  /** In the order of the document, the newest first: the first that fits counts. */
  readonly levels: readonly TcbLevel[];
  readonly tdxModule: TdxModule | undefined;
  readonly tdxModuleIdentities: readonly TdxModuleIdentity[];
}

export interface QeIdentity extends DatedDocument {
  readonly id: string;
  readonly miscSelect: number;
  readonly miscSelectMask: number;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProductId: number;
  readonly levels: readonly SvnLevel[];
}

export function readTcbInfo(node: JsonNode): TcbInfo {
  const version = node.member('version').count(65_535);
  if (version !== 2 && version !== 3) throw wrong(`a TCB info of version ${version} is not known`);
  const id = version === 2 ? 'SGX' : node.member('id').text();
  if (id !== 'SGX' && id !== 'TDX') throw wrong('a TCB info is for neither SGX nor TDX');
  if (node.member('tcbType').count(65_535) !== 0) throw wrong('the components of a TCB info are of an unknown type');
  const isTdx = id === 'TDX';
  return {
    ...readDates(node),
    id,
    fmspc: Buffer.from(hexBytes(node.member('fmspc'), 6)).toString('hex'),
    pceId: Buffer.from(hexBytes(node.member('pceId'), 2)).toString('hex'),
    levels: bounded(node.member('tcbLevels'), intelTcbLevelsMax).map((level) => readTcbLevel(level, version, isTdx)),
    tdxModule: isTdx ? readModule(node.member('tdxModule')) : undefined,
    tdxModuleIdentities: isTdx ? readModuleIdentities(node.optional('tdxModuleIdentities')) : [],
  };
}

export function readQeIdentity(node: JsonNode): QeIdentity {
  const version = node.member('version').count(65_535);
  if (version !== 2) throw wrong(`a QE identity of version ${version} is not known`);
  return {
    ...readDates(node),
    id: node.member('id').text(),
    miscSelect: littleEndian(hexBytes(node.member('miscselect'), 4)),
    miscSelectMask: littleEndian(hexBytes(node.member('miscselectMask'), 4)),
    attributes: hexBytes(node.member('attributes'), 16),
    attributesMask: hexBytes(node.member('attributesMask'), 16),
    mrSigner: hexBytes(node.member('mrsigner'), 32),
    isvProductId: node.member('isvprodid').count(65_535),
    levels: readSvnLevels(node),
  };
}

function readTcbLevel(node: JsonNode, version: number, isTdx: boolean): TcbLevel {
  const tcb = node.member('tcb');
  const sgxSvns = version === 2 ? flatSvns(tcb) : listedSvns(tcb.member('sgxtcbcomponents'));
  return {
    ...readStatement(node),
    sgxSvns,
    pceSvn: tcb.member('pcesvn').count(65_535),
    tdxSvns: isTdx ? listedSvns(tcb.member('tdxtcbcomponents')) : undefined,
  };
}

function listedSvns(node: JsonNode): number[] {
  const svns = node.list().map((component) => component.member('svn').count(255));
  if (svns.length !== 16) throw wrong(`${node.path}: there are ${svns.length} components, not 16`);
  return svns;
}

/** Version 2: sgxtcbcomp01svn to sgxtcbcomp16svn. */
function flatSvns(tcb: JsonNode): number[] {
  return Array.from({ length: 16 }, (_, index) =>
    tcb.member(`sgxtcbcomp${String(index + 1).padStart(2, '0')}svn`).count(255),
  );
}

function readStatement(node: JsonNode): TcbStatement {
  const advisories = node.optional('advisoryIDs');
  return {
    status: node.member('tcbStatus').text(),
    date: dateOf(node.member('tcbDate')),
    advisories:
      advisories === undefined ? [] : bounded(advisories, intelListItemsMax).map((advisory) => advisory.text()),
  };
}

function readSvnLevels(node: JsonNode): SvnLevel[] {
  return bounded(node.member('tcbLevels'), intelTcbLevelsMax).map((level) => ({
    ...readStatement(level),
    isvSvn: level.member('tcb').member('isvsvn').count(65_535),
  }));
}

function readModule(node: JsonNode): TdxModule {
  return { mrSigner: hexBytes(node.member('mrsigner'), 48), attributes: hexBytes(node.member('attributes'), 8) };
}

function readModuleIdentities(node: JsonNode | undefined): TdxModuleIdentity[] {
  if (node === undefined) return [];
  return bounded(node, intelListItemsMax).map((identity) => ({
    ...readModule(identity),
    id: identity.member('id').text().toUpperCase(),
    levels: readSvnLevels(identity),
  }));
}

function bounded(node: JsonNode, max: number): readonly JsonNode[] {
  const items = node.list();
  if (items.length > max) throw wrong(`${node.path}: there are more than ${max}`);
  return items;
}

/** As Intel's own verifier reads the text: as the bytes of the number in memory. */
function littleEndian(bytes: Uint8Array): number {
  return bytes.reduceRight((number, byte) => number * 256 + byte, 0);
}
