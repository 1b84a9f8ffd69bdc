/**
 * What Intel's documents say of the versions that a platform has (spec/attestation-intel.md, "TCB evaluation"): pure, over authentic
 * fields. The steps and their order are those of Intel's own verifier, so that both always say the same.
 *
 * No level that fits is `NotSupported`, and a revoked one is `Revoked`: results, for the policy to refuse, not errors.
 */
import { untrusted } from '../x509/certificates.ts';
import type { QeIdentity, SvnLevel, TcbInfo, TcbLevel, TcbStatement, TdxModuleIdentity } from './tcb-info.ts';

export type TcbStatus =
  | 'UpToDate'
  | 'SWHardeningNeeded'
  | 'ConfigurationNeeded'
  | 'ConfigurationAndSWHardeningNeeded'
  | 'OutOfDate'
  | 'OutOfDateConfigurationNeeded'
  | 'TDRelaunchAdvised'
  | 'TDRelaunchAdvisedConfigurationNeeded'
  | 'Revoked'
  | 'NotSupported';

const platformStatuses: readonly string[] = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] satisfies TcbStatus[];
const qeStatuses: readonly string[] = [
  'UpToDate',
  'ConfigurationNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] satisfies TcbStatus[];
const moduleStatuses: readonly string[] = ['UpToDate', 'OutOfDate', 'Revoked'] satisfies TcbStatus[];

/** The versions of a platform: of the processor by its PCK certificate, of the quoting enclave, of TDX by the TD report. */
export interface PlatformSvns {
  readonly componentSvns: readonly number[];
  readonly pceSvn: number;
  readonly qeIsvSvn: number;
  readonly tdx?: { readonly launch: Uint8Array; readonly current: Uint8Array | undefined };
}

export interface TcbVerdict {
  readonly status: TcbStatus;
  /** The oldest date among the levels that fit; undefined where one is missing. */
  readonly date: number | undefined;
  /** Of platform, quoting enclave and module, in this order, each once. */
  readonly advisories: readonly string[];
  readonly qeStatus: TcbStatus;
  readonly moduleStatus: TcbStatus | undefined;
}

export function evaluateTcb(info: TcbInfo, identity: QeIdentity, svns: PlatformSvns): TcbVerdict {
  const launch = evaluateOnce(info, identity, svns, svns.tdx?.launch);
  const current = svns.tdx?.current;
  if (current === undefined) return launch;
  const now = evaluateOnce(info, identity, svns, current);
  if (now.status === 'NotSupported') return now;
  return { ...launch, status: relaunchAdvice(launch.status, now.status) };
}

function evaluateOnce(
  info: TcbInfo,
  identity: QeIdentity,
  svns: PlatformSvns,
  teeTcbSvn: Uint8Array | undefined,
): TcbVerdict {
  const platform = info.levels.find((level) => fits(level, svns, teeTcbSvn));
  const qe = firstLevel(identity.levels, svns.qeIsvSvn);
  const hasModuleIdentity = teeTcbSvn !== undefined && moduleVersion(teeTcbSvn) > 0;
  const moduleLevel = hasModuleIdentity
    ? firstLevel(moduleIdentity(info, teeTcbSvn)?.levels ?? [], teeTcbSvn[0]!)
    : undefined;
  const qeStatus = statusOf(qe, qeStatuses);
  const moduleStatus = hasModuleIdentity ? statusOf(moduleLevel, moduleStatuses) : undefined;
  const platformStatus = statusOf(platform, platformStatuses);
  const status = converge(platformStatus, [qeStatus, ...(moduleStatus === undefined ? [] : [moduleStatus])]);
  const levels: TcbStatement[] = [platform, qe, moduleLevel].filter((level) => level !== undefined);
  const isKnown = status !== 'NotSupported';
  return {
    status,
    date: isKnown ? Math.min(...levels.map(({ date }) => date)) : undefined,
    advisories: isKnown ? [...new Set(levels.flatMap(({ advisories }) => advisories))] : [],
    qeStatus,
    moduleStatus,
  };
}

/** Each component at least that of the level. Of a module with a version, its own components count in its own identity instead. */
function fits(level: TcbLevel, svns: PlatformSvns, teeTcbSvn: Uint8Array | undefined): boolean {
  if (!level.sgxSvns.every((svn, index) => svns.componentSvns[index]! >= svn)) return false;
  if (svns.pceSvn < level.pceSvn) return false;
  if (teeTcbSvn === undefined) return true;
  const first = moduleVersion(teeTcbSvn) > 0 ? 2 : 0;
  return level.tdxSvns?.every((svn, index) => index < first || teeTcbSvn[index]! >= svn) ?? false;
}

function firstLevel(levels: readonly SvnLevel[], isvSvn: number): SvnLevel | undefined {
  return levels.find((level) => isvSvn >= level.isvSvn);
}

export function moduleVersion(teeTcbSvn: Uint8Array): number {
  return teeTcbSvn[1]!;
}

/** The identity of the module's major version, such as TDX_01; undefined where the document has none. */
export function moduleIdentity(info: TcbInfo, teeTcbSvn: Uint8Array): TdxModuleIdentity | undefined {
  const id = `TDX_${moduleVersion(teeTcbSvn).toString(16).padStart(2, '0').toUpperCase()}`;
  return info.tdxModuleIdentities.find((identity) => identity.id === id);
}

function statusOf(level: TcbStatement | undefined, known: readonly string[]): TcbStatus {
  if (level === undefined) return 'NotSupported';
  if (known.includes(level.status)) return level.status as TcbStatus;
  throw untrusted('collateral', 'tcb-status', 'a TCB level has a status that is not known');
}

function converge(platform: TcbStatus, components: readonly TcbStatus[]): TcbStatus {
  if (platform === 'NotSupported' || components.includes('NotSupported')) return 'NotSupported';
  if (components.includes('Revoked')) return 'Revoked';
  if (!components.includes('OutOfDate')) return platform;
  if (platform === 'UpToDate' || platform === 'SWHardeningNeeded') return 'OutOfDate';
  if (platform === 'ConfigurationNeeded' || platform === 'ConfigurationAndSWHardeningNeeded')
    return 'OutOfDateConfigurationNeeded';
  return platform;
}

/** A TD that was built under an old TCB on a platform that is fine by now: a new launch would mend it. */
function relaunchAdvice(launch: TcbStatus, current: TcbStatus): TcbStatus {
  const isOld = launch === 'OutOfDate' || launch === 'OutOfDateConfigurationNeeded';
  const needsConfiguration = current === 'ConfigurationNeeded' || current === 'ConfigurationAndSWHardeningNeeded';
  const isFine = current === 'UpToDate' || current === 'SWHardeningNeeded' || needsConfiguration;
  if (!isOld || !isFine) return launch;
  return launch === 'OutOfDateConfigurationNeeded' || needsConfiguration
    ? 'TDRelaunchAdvisedConfigurationNeeded'
    : 'TDRelaunchAdvised';
}
