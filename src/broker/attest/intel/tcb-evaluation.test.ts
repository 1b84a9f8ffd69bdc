/** The evaluation of TCB levels, rule by rule of spec/attestation-intel.md, "TCB evaluation". */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluateTcb, type PlatformSvns, type TcbVerdict } from './tcb-evaluation.ts';
import type { QeIdentity, SvnLevel, TcbInfo, TcbLevel } from './tcb-info.ts';

const zeros = Array.from({ length: 16 }, () => 0);
const day = (number: number): number => Date.UTC(2024, 0, number);

function level(status: string, changes: Partial<TcbLevel> = {}): TcbLevel {
  return { status, date: day(20), advisories: [], sgxSvns: zeros, pceSvn: 0, tdxSvns: zeros, ...changes };
}

function svnLevel(isvSvn: number, status: string, changes: Partial<SvnLevel> = {}): SvnLevel {
  return { isvSvn, status, date: day(20), advisories: [], ...changes };
}

function tcbInfo(levels: readonly TcbLevel[], modules: readonly SvnLevel[] = [svnLevel(0, 'UpToDate')]): TcbInfo {
  const tdxModule = { mrSigner: new Uint8Array(48), attributes: new Uint8Array(8) };
  return {
    ...{ id: 'TDX', fmspc: '', pceId: '', issueDate: 0, nextUpdate: 0, evaluationNumber: 0 },
    ...{ levels, tdxModule, tdxModuleIdentities: [{ ...tdxModule, id: 'TDX_01', levels: modules }] },
  };
}

function qe(...levels: SvnLevel[]): QeIdentity {
  return { levels } as unknown as QeIdentity;
}

const goodQe = qe(svnLevel(0, 'UpToDate'));
const svns: PlatformSvns = { componentSvns: Array.from({ length: 16 }, () => 5), pceSvn: 5, qeIsvSvn: 5 };

function tdx(launch: readonly number[], current?: readonly number[]): PlatformSvns {
  const bytes = (list: readonly number[]): Uint8Array => Uint8Array.from([...list, ...zeros.toSpliced(0, list.length)]);
  return { ...svns, tdx: { launch: bytes(launch), current: current === undefined ? undefined : bytes(current) } };
}

test('the first level that fits counts, not the best', () => {
  const levels = [level('OutOfDate'), level('UpToDate')];
  assert.equal(evaluateTcb(tcbInfo(levels), goodQe, svns).status, 'OutOfDate');
});

for (let index = 0; index < 16; index++)
  test(`component ${index} must be at least that of the level`, () => {
    const sgxSvns = zeros.with(index, 6);
    const levels = [level('UpToDate', { sgxSvns }), level('OutOfDate')];
    assert.equal(evaluateTcb(tcbInfo(levels), goodQe, svns).status, 'OutOfDate');
    const equal = [level('UpToDate', { sgxSvns: zeros.with(index, 5) }), level('OutOfDate')];
    assert.equal(evaluateTcb(tcbInfo(equal), goodQe, svns).status, 'UpToDate');
  });

test('PCESVN must be at least that of the level', () => {
  const statusAt = (pceSvn: number): string =>
    evaluateTcb(tcbInfo([level('UpToDate', { pceSvn }), level('OutOfDate')]), goodQe, svns).status;
  assert.deepEqual([statusAt(5), statusAt(6)], ['UpToDate', 'OutOfDate']);
});

test('TDX components count from the first, or from the third where the module has a version', () => {
  const statusAt = (index: number, launch: readonly number[]): string => {
    const levels = [level('UpToDate', { tdxSvns: zeros.with(index, 9) }), level('OutOfDate')];
    return evaluateTcb(tcbInfo(levels), goodQe, tdx(launch)).status;
  };
  const plain = [3, 0, 3];
  const versioned = [3, 1, 3];
  assert.deepEqual(
    [0, 1, 2, 15].map((index) => statusAt(index, plain)),
    ['OutOfDate', 'OutOfDate', 'OutOfDate', 'OutOfDate'],
  );
  assert.deepEqual(
    [0, 1, 2, 15].map((index) => statusAt(index, versioned)),
    ['UpToDate', 'UpToDate', 'OutOfDate', 'OutOfDate'],
  );
});

test('a level without TDX components fits no TD', () => {
  const levels = [level('UpToDate', { tdxSvns: undefined })];
  assert.equal(evaluateTcb(tcbInfo(levels), goodQe, tdx([0, 0])).status, 'NotSupported');
});

test('no level of platform, quoting enclave or module is NotSupported, with neither date nor advisories', () => {
  const nothing = { status: 'NotSupported', date: undefined, advisories: [] };
  const outcome = ({ status, date, advisories }: TcbVerdict): object => ({ status, date, advisories });
  const advised = { advisories: ['A'] };
  const platform = tcbInfo([level('UpToDate', { ...advised, pceSvn: 6 })]);
  assert.deepEqual(outcome(evaluateTcb(platform, goodQe, svns)), nothing);
  const right = tcbInfo([level('UpToDate', advised)], [svnLevel(4, 'UpToDate')]);
  assert.deepEqual(outcome(evaluateTcb(right, qe(svnLevel(6, 'UpToDate')), svns)), nothing);
  assert.deepEqual(outcome(evaluateTcb(right, goodQe, tdx([3, 1]))), nothing);
  assert.deepEqual(outcome(evaluateTcb(right, goodQe, tdx([4, 2]))), nothing);
  assert.equal(evaluateTcb(right, goodQe, tdx([4, 1])).status, 'UpToDate');
});

const converged: readonly (readonly [platform: string, component: string, status: string])[] = [
  ['UpToDate', 'OutOfDate', 'OutOfDate'],
  ['SWHardeningNeeded', 'OutOfDate', 'OutOfDate'],
  ['ConfigurationNeeded', 'OutOfDate', 'OutOfDateConfigurationNeeded'],
  ['ConfigurationAndSWHardeningNeeded', 'OutOfDate', 'OutOfDateConfigurationNeeded'],
  ['OutOfDate', 'OutOfDate', 'OutOfDate'],
  ['OutOfDateConfigurationNeeded', 'OutOfDate', 'OutOfDateConfigurationNeeded'],
  ['Revoked', 'OutOfDate', 'Revoked'],
  ['Revoked', 'UpToDate', 'Revoked'],
  ['UpToDate', 'Revoked', 'Revoked'],
  ['OutOfDate', 'Revoked', 'Revoked'],
  ['SWHardeningNeeded', 'UpToDate', 'SWHardeningNeeded'],
  ['ConfigurationNeeded', 'UpToDate', 'ConfigurationNeeded'],
  ['ConfigurationAndSWHardeningNeeded', 'UpToDate', 'ConfigurationAndSWHardeningNeeded'],
];

for (const [platform, component, status] of converged)
  test(`${platform} with a component that is ${component} is ${status}`, () => {
    const levels = [level(platform)];
    assert.equal(evaluateTcb(tcbInfo(levels), qe(svnLevel(0, component)), svns).status, status);
    const verdict = evaluateTcb(tcbInfo(levels, [svnLevel(0, component)]), goodQe, tdx([1, 1]));
    assert.deepEqual([verdict.status, verdict.moduleStatus], [status, component]);
  });

test('the oldest date and the advisories of all three levels are reported', () => {
  const info = tcbInfo(
    [level('UpToDate', { date: day(9), advisories: ['A', 'B'] })],
    [svnLevel(0, 'UpToDate', { date: day(8), advisories: ['C', 'B'] })],
  );
  const identity = qe(svnLevel(0, 'UpToDate', { date: day(7), advisories: ['D'] }));
  const verdict = evaluateTcb(info, identity, tdx([1, 1]));
  assert.deepEqual([verdict.date, verdict.advisories], [day(7), ['A', 'B', 'D', 'C']]);
  assert.equal(evaluateTcb(info, goodQe, tdx([1, 1])).date, day(8));
  assert.equal(evaluateTcb(info, goodQe, tdx([1, 0])).date, day(9));
});

const relaunches: readonly (readonly [launch: string, current: string, status: string])[] = [
  ['OutOfDate', 'UpToDate', 'TDRelaunchAdvised'],
  ['OutOfDate', 'SWHardeningNeeded', 'TDRelaunchAdvised'],
  ['OutOfDate', 'ConfigurationNeeded', 'TDRelaunchAdvisedConfigurationNeeded'],
  ['OutOfDate', 'ConfigurationAndSWHardeningNeeded', 'TDRelaunchAdvisedConfigurationNeeded'],
  ['OutOfDateConfigurationNeeded', 'UpToDate', 'TDRelaunchAdvisedConfigurationNeeded'],
  ['OutOfDateConfigurationNeeded', 'SWHardeningNeeded', 'TDRelaunchAdvisedConfigurationNeeded'],
  ['OutOfDate', 'OutOfDate', 'OutOfDate'],
  ['OutOfDate', 'Revoked', 'OutOfDate'],
  ['OutOfDateConfigurationNeeded', 'OutOfDate', 'OutOfDateConfigurationNeeded'],
  ['UpToDate', 'OutOfDate', 'UpToDate'],
  ['ConfigurationNeeded', 'UpToDate', 'ConfigurationNeeded'],
  ['Revoked', 'UpToDate', 'Revoked'],
];

for (const [launch, current, status] of relaunches)
  test(`launched ${launch}, now ${current}: ${status}`, () => {
    const now = level(current, { tdxSvns: zeros.with(2, 9), date: day(30), advisories: ['now'] });
    const levels = [now, level(launch, { advisories: ['launch'] })];
    const verdict = evaluateTcb(tcbInfo(levels), goodQe, tdx([1, 1, 3], [1, 1, 9]));
    assert.equal(verdict.status, status);
    assert.deepEqual([verdict.date, verdict.advisories], [day(20), ['launch']], 'what is reported is of the launch');
  });

test('a TCB of now that fits no level is NotSupported', () => {
  const levels = [level('OutOfDate', { tdxSvns: zeros.with(2, 3) })];
  assert.equal(evaluateTcb(tcbInfo(levels), goodQe, tdx([1, 1, 3], [1, 1, 2])).status, 'NotSupported');
  assert.equal(evaluateTcb(tcbInfo(levels), goodQe, tdx([1, 1, 3], [1, 1, 3])).status, 'OutOfDate');
});

for (const [where, info, identity] of [
  ['platform', tcbInfo([level('Splendid')]), goodQe],
  ['quoting enclave', tcbInfo([level('UpToDate')]), qe(svnLevel(0, 'SWHardeningNeeded'))],
  ['module', tcbInfo([level('UpToDate')], [svnLevel(0, 'ConfigurationNeeded')]), goodQe],
] as const)
  test(`a status that is not known of the ${where} is refused`, () => {
    assert.throws(() => evaluateTcb(info, identity, tdx([1, 1])), { code: 'collateral-untrusted' });
  });
