/** Claims of SGX and TDX alike: what Intel says of the platform (spec/attestation-intel.md, "Claims"). */
import { fromHex } from '../../../lib/hex.ts';
import type { ClaimDefinition, ClaimValue } from '../verifier.ts';
import { dateText } from './signed-json.ts';
import type { IntelVerification } from './verify.ts';

const pcs = 'Intel PCS API v4';
const pckSpecification = 'Intel SGX PCK Certificate and CRL Profile Specification, 1.3.5';
const evaluation = 'Intel PCS API v4, "Get TCB Info", tcbStatus';

export const intelClaims: readonly ClaimDefinition[] = [
  {
    name: 'tcb.status',
    kind: 'text',
    mustBeJudged: true,
    about:
      'What Intel says of the versions of processor, quoting enclave and TDX module: UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded, Revoked, NotSupported.',
    source: evaluation,
  },
  {
    name: 'tcb.date',
    kind: 'date',
    isOptional: true,
    mustBeJudged: false,
    about: 'Everything that Intel disclosed before this day is dealt with. Lacking where the status is NotSupported.',
    source: 'Intel PCS API v4, "Get TCB Info", tcbDate',
  },
  {
    name: 'tcb.advisories',
    kind: 'list',
    mustBeJudged: false,
    about: 'Security advisories that concern these versions, of platform, quoting enclave and TDX module.',
    source: 'Intel PCS API v4, "Get TCB Info", advisoryIDs',
  },
  {
    name: 'tcb.evaluation-number',
    kind: 'number',
    mustBeJudged: false,
    about: 'Counts the recoveries that Intel has decided on; the lower of TCB info and QE identity.',
    source: 'Intel PCS API v4, tcbEvaluationDataNumber',
  },
  {
    name: 'qe.status',
    kind: 'text',
    mustBeJudged: false,
    about: 'Of the quoting enclave alone; tcb.status has it in already.',
    source: 'Intel PCS API v4, "Get Quoting Enclave Identity", tcbStatus',
  },
  {
    name: 'qe.isv-svn',
    kind: 'number',
    mustBeJudged: false,
    about: 'Security version of the quoting enclave.',
    source: pcs,
  },
  {
    name: 'platform.fmspc',
    kind: 'bytes',
    bytes: 6,
    mustBeJudged: false,
    about: 'Family, model, stepping, platform type and custom SKU of the processor.',
    source: pckSpecification,
  },
  {
    name: 'platform.ppid',
    kind: 'bytes',
    bytes: 16,
    mustBeJudged: false,
    about: 'Names this very platform: a list of them admits certain machines only.',
    source: pckSpecification,
  },
  {
    name: 'platform.instance-id',
    kind: 'bytes',
    bytes: 16,
    isOptional: true,
    mustBeJudged: false,
    about: 'Names this platform of several sockets since it was last put together.',
    source: pckSpecification,
  },
  ...(
    [
      ['platform.dynamic', 'Sockets may be added to this platform.'],
      ['platform.cached-keys', 'The keys of this platform are cached by Intel.'],
      ['platform.smt-enabled', 'Processor cores run two threads at once.'],
    ] as const
  ).map(
    ([name, about]) =>
      ({ name, kind: 'boolean', isOptional: true, mustBeJudged: false, about, source: pckSpecification }) as const,
  ),
];

export function intelClaimValues({
  platform,
  qeReport,
  tcb,
  evaluationNumber,
}: IntelVerification): [string, ClaimValue][] {
  const fmspc = fromHex(platform.fmspc, 6);
  const values: readonly [string, ClaimValue | undefined][] = [
    ['tcb.status', tcb.status],
    ['tcb.date', tcb.date === undefined ? undefined : dateText(tcb.date)],
    ['tcb.advisories', tcb.advisories],
    ['tcb.evaluation-number', evaluationNumber],
    ['qe.status', tcb.qeStatus],
    ['qe.isv-svn', qeReport.isvSvn],
    ['platform.fmspc', fmspc],
    ['platform.ppid', platform.ppid],
    ['platform.instance-id', platform.platformInstanceId],
    ['platform.dynamic', platform.isDynamic],
    ['platform.cached-keys', platform.hasCachedKeys],
    ['platform.smt-enabled', platform.isSmtEnabled],
  ];
  return values.filter((entry): entry is [string, ClaimValue] => entry[1] !== undefined);
}
