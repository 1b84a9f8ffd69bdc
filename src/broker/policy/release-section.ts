/** The part `release` of a policy: conditions of a release and what it grants (spec/policy.md, section 5). */
import { toHex } from '../../lib/hex.ts';
import { envelopeSuites } from '../../wire/envelope-suites.ts';
import type { EnvelopeSuite } from '../../wire/envelope-suites.ts';
import type { Technology } from '../../wire/evidence.ts';
import type { VerifiedEvidence } from '../attest/verifier.ts';
import { allowedText, inForce, readAllowedValues } from './conditions.ts';
import type { AllowedValues } from './conditions.ts';
import { Members, shown } from './document.ts';
import type { MapTree, Problems, Tree } from './document.ts';
import type { References } from './references.ts';
import { suggestion } from './suggest.ts';
import { dateText, durationText, readDate, readDuration } from './values.ts';
import type { RuleOutcome } from './verdict.ts';

const day = 86_400_000;
const collateralAgeMillisecondsMax = 400 * day;
const sessionMillisecondsMax = 30 * day;
const outageMillisecondsMax = day;

export interface ReleaseSection {
  readonly notBefore: number | undefined;
  readonly notAfter: number | undefined;
  readonly keys: readonly string[] | undefined;
  /** Hexadecimal. */
  readonly volumes: readonly string[] | undefined;
  readonly initdata: AllowedValues | undefined;
  readonly suites: readonly EnvelopeSuite[] | undefined;
  readonly mayCreateKey: boolean;
  readonly mayAdvanceAnchor: boolean;
  /** For `VerifyContext.collateralAgeMax`. */
  readonly collateralAgeMillisecondsMax: number;
  readonly sessionMillisecondsMax: number;
  /** How long a volume may go on without its anchor; 0: it waits. */
  readonly anchorOutageMilliseconds: number;
}

/** What is asked for beside the evidence. */
export interface PolicyRequest {
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly keyName: string | undefined;
  readonly volumeId: Uint8Array | undefined;
  readonly suite: EnvelopeSuite | undefined;
  readonly asks: readonly ('create-key' | 'advance-anchor')[];
}

export const releaseDefaults: ReleaseSection = {
  notBefore: undefined,
  notAfter: undefined,
  keys: undefined,
  volumes: undefined,
  initdata: undefined,
  suites: undefined,
  mayCreateKey: false,
  mayAdvanceAnchor: false,
  collateralAgeMillisecondsMax: 7 * day,
  sessionMillisecondsMax: 3_600_000,
  anchorOutageMilliseconds: 0,
};

/** The claim that carries the digest of initdata. */
export const initdataClaims: Partial<Readonly<Record<Technology, string>>> = {
  sgx: 'sgx.config-id',
  tdx: 'tdx.mr-config-id',
  snp: 'snp.host-data',
  cca: 'cca.rpv',
};

const members = [
  ...['not-before', 'not-after', 'keys', 'volumes', 'initdata', 'suites', 'may-create-key', 'may-advance-anchor'],
  ...['collateral-age-max', 'session-max', 'anchor-outage'],
];
const keyPattern = /^(?=.{1,64}$)[a-z0-9-]*\*?[a-z0-9-]*$/;
const initdataBytes = [32, 48, 64];

export function readRelease(map: MapTree, references: References, problems: Problems): ReleaseSection {
  const release = new Members(map, members, '"release"', problems);
  const reader = new ReleaseReader(release, problems);
  const initdata = release.value('initdata');
  const section: ReleaseSection = {
    notBefore: reader.date('not-before'),
    notAfter: reader.date('not-after'),
    keys: reader.texts('keys', (text) => keyPattern.test(text), 'a name of a key, with one * at most'),
    volumes: reader
      .texts('volumes', (text) => /^[0-9a-f]{32}$/i.test(text), 'a volume id of 32 hexadecimal digits')
      ?.map((id) => id.toLowerCase()),
    initdata: initdata && readInitdata(initdata, references, problems),
    suites: reader.texts('suites', isSuite, `one of ${envelopeSuites.join(', ')}`)?.filter(isSuite),
    mayCreateKey: reader.boolean('may-create-key'),
    mayAdvanceAnchor: reader.boolean('may-advance-anchor'),
    collateralAgeMillisecondsMax:
      reader.duration('collateral-age-max', collateralAgeMillisecondsMax) ??
      releaseDefaults.collateralAgeMillisecondsMax,
    sessionMillisecondsMax:
      reader.duration('session-max', sessionMillisecondsMax) ?? releaseDefaults.sessionMillisecondsMax,
    anchorOutageMilliseconds: reader.anchorOutage(),
  };
  if (section.notBefore !== undefined && section.notAfter !== undefined && section.notAfter < section.notBefore)
    problems.add(map.place, '"not-after" lies before "not-before", so that it could never hold');
  return section;
}

function isSuite(text: string): text is EnvelopeSuite {
  return (envelopeSuites as readonly string[]).includes(text);
}

function readInitdata(tree: Tree, references: References, problems: Problems): AllowedValues | undefined {
  if (tree.kind === 'list' && tree.items.length === 0)
    return problems.add(tree.place, '"initdata" is empty, so that it could never hold');
  const allowed = readAllowedValues(tree, { name: 'initdata', kind: 'bytes' }, references, problems);
  const isDigest = allowed.values.every(
    ({ value }) => value instanceof Uint8Array && initdataBytes.includes(value.length),
  );
  return isDigest ? allowed : problems.add(tree.place, 'digests of initdata have 32, 48 or 64 bytes');
}

class ReleaseReader {
  readonly #release: Members;
  readonly #problems: Problems;

  constructor(release: Members, problems: Problems) {
    this.#release = release;
    this.#problems = problems;
  }

  date(name: string): number | undefined {
    const value = this.#release.value(name);
    if (value === undefined) return undefined;
    const date = value.kind === 'scalar' ? readDate(value.text) : undefined;
    return date ?? this.#problems.add(value.place, `"${name}" must be a date such as 2026-11-23T12:00:00Z`);
  }

  texts(name: string, isRight: (text: string) => boolean, what: string): string[] | undefined {
    const list = this.#release.list(name);
    if (list?.items.length === 0)
      return this.#problems.add(list.place, `"${name}" is empty, so that it could never hold`);
    return list?.items.flatMap((item) => {
      if (item.kind === 'scalar' && isRight(item.text)) return [item.text];
      const text = item.kind === 'scalar' ? `"${shown(item.text)}"` : 'this';
      const near = item.kind === 'scalar' && name === 'suites' ? suggestion(item.text, envelopeSuites) : '';
      this.#problems.add(item.place, `${text} in "${name}" is not ${what}${near}`);
      return [];
    });
  }

  boolean(name: string): boolean {
    const value = this.#release.value(name);
    if (value === undefined) return false;
    const isBoolean = value.kind === 'scalar' && value.isPlain && /^(true|false)$/.test(value.text);
    if (!isBoolean) this.#problems.add(value.place, `"${name}" must be true or false`);
    return isBoolean && value.text === 'true';
  }

  duration(name: string, max: number): number | undefined {
    const value = this.#release.value(name);
    return value === undefined ? undefined : this.#durationOf(value, name, max);
  }

  anchorOutage(): number {
    const value = this.#release.value('anchor-outage');
    if (value === undefined || (value.kind === 'scalar' && value.text === 'wait')) return 0;
    if (value.kind !== 'map') {
      this.#problems.add(value.place, '"anchor-outage" must be wait, or {continue-for: DURATION}');
      return 0;
    }
    const map = new Members(value, ['continue-for'], '"anchor-outage"', this.#problems);
    const duration = map.required('continue-for');
    return (duration && this.#durationOf(duration, 'continue-for', outageMillisecondsMax)) ?? 0;
  }

  #durationOf(value: Tree, name: string, max: number): number | undefined {
    const duration = value.kind === 'scalar' ? readDuration(value.text) : undefined;
    if (duration !== undefined && duration <= max) return duration;
    return this.#problems.add(value.place, `"${name}" must be a duration such as 12h, at most ${durationText(max)}`);
  }
}

/** One outcome for each condition that the policy or the request mentions. */
export function judgeRelease(
  section: ReleaseSection,
  verified: VerifiedEvidence,
  request: PolicyRequest,
): readonly RuleOutcome[] {
  const outcomes: RuleOutcome[] = [];
  const { now, keyName, suite } = request;
  const volume = request.volumeId && toHex(request.volumeId);
  function add(member: string, holds: boolean, expected: string, actual: string | undefined): void {
    outcomes.push({
      rule: `release.${member}`,
      outcome: holds ? 'pass' : 'fail',
      expected,
      actual: actual ?? '(not given)',
    });
  }
  const { notBefore, notAfter, keys, volumes, suites, initdata } = section;
  if (notBefore !== undefined) add('not-before', now >= notBefore, `from ${dateText(notBefore)} on`, dateText(now));
  if (notAfter !== undefined) add('not-after', now <= notAfter, `until ${dateText(notAfter)}`, dateText(now));
  if (keys !== undefined)
    add('keys', keyName !== undefined && keys.some((key) => matches(key, keyName)), keys.join(', '), keyName);
  if (volumes !== undefined)
    add('volumes', volume !== undefined && volumes.includes(volume), volumes.join(', '), volume);
  if (suites !== undefined) add('suites', suite !== undefined && suites.includes(suite), suites.join(', '), suite);
  if (initdata !== undefined) outcomes.push(judgeInitdata(initdata, verified, now));
  if (request.asks.includes('create-key'))
    add('may-create-key', section.mayCreateKey, 'true', String(section.mayCreateKey));
  if (request.asks.includes('advance-anchor'))
    add('may-advance-anchor', section.mayAdvanceAnchor, 'true', String(section.mayAdvanceAnchor));
  return outcomes;
}

function judgeInitdata(allowed: AllowedValues, { technology, claims }: VerifiedEvidence, now: number): RuleOutcome {
  const name = initdataClaims[technology];
  const claim = name === undefined ? undefined : claims.get(name);
  const digests = inForce(allowed, now).filter((value) => value instanceof Uint8Array);
  const holds = claim instanceof Uint8Array && digests.some((digest) => isCarried(claim, digest));
  return {
    rule: 'release.initdata',
    outcome: holds ? 'pass' : 'fail',
    expected: allowedText(allowed, 'bytes', now, 'one of '),
    actual: claim instanceof Uint8Array ? toHex(claim) : `${technology} evidence carries no initdata`,
  };
}

/** The digest, cut off or filled with zeros to the length of the claim. */
function isCarried(claim: Uint8Array, digest: Uint8Array): boolean {
  return claim.every((byte, at) => byte === (digest[at] ?? 0));
}

function matches(pattern: string, name: string): boolean {
  const [before = '', after] = pattern.split('*');
  if (after === undefined) return pattern === name;
  return name.length >= before.length + after.length && name.startsWith(before) && name.endsWith(after);
}
