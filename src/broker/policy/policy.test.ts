/** What a policy text may say, and where each fault of one is told (spec/policy.md, sections 1 to 5). */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { CaissonError } from '../../lib/errors.ts';
import { policyBytesMax } from '../../lib/limits.ts';
import { definitions, images, policyText } from '../../../test/support/policies.ts';
import { parsePolicy } from './policy.ts';
import { collectReferences, parseReferenceSet } from './references.ts';

const references = collectReferences([parseReferenceSet(images, 'images.yaml')]);

describe('a policy', () => {
  it('is read', () => {
    const policy = parsePolicy(policyText, 'p.yaml', definitions, references);
    assert.equal(policy.name, 'database');
    assert.deepEqual(
      policy.profiles.map(({ name, technology }) => [name, technology]),
      [
        ['production', 'snp'],
        ['other', 'tdx'],
      ],
    );
    assert.deepEqual(
      policy.references.map(({ name }) => name),
      ['images'],
    );
    assert.match(policy.digest, /^[0-9a-f]{64}$/);
    assert.deepEqual([policy.release.mayCreateKey, policy.release.mayAdvanceAnchor], [true, false]);
    assert.equal(policy.release.anchorOutageMilliseconds, 600_000);
    assert.equal(policy.release.sessionMillisecondsMax, 7_200_000);
  });

  it('is the same as JSON', () => {
    const json = JSON.stringify({
      'caisson-policy': 1,
      name: 'database',
      profiles: {
        production: {
          technology: 'snp',
          rules: {
            'snp.measurement': 'aa'.repeat(48),
            'snp.vmpl': { 'at-most': 0 },
            'tcb.status': ['UpToDate'],
            debug: false,
          },
          waive: { 'snp.policy': 'not looked at in this test' },
        },
      },
      release: { 'may-create-key': true, volumes: ['00'.repeat(16)] },
    });
    assert.equal(parsePolicy(json, 'p.json', definitions, references).profiles[0]?.rules.size, 3);
  });

  it('may have values as long as they may be', () => {
    const text = policyText.replace('[UpToDate]', `[${'x'.repeat(512)}]`).replace('a test', 'd'.repeat(1024));
    assert.equal(parsePolicy(text, 'p.yaml', definitions, references).description.length, 1024);
    const longer = text.replace('d'.repeat(1024), 'd'.repeat(1025));
    assert.match(refusal(longer).message, /"description" has 1025 characters, at most 1024/);
  });

  it('may wait for its anchor, hold for one moment, and have the longest session', () => {
    const text = policyText
      .replace('{ continue-for: 10min }', 'wait')
      .replace('not-after: 2027-01-01T12:00:00Z', 'not-after: 2026-01-01')
      .replace('session-max: 2h', 'session-max: 30d');
    const { release } = parsePolicy(text, 'p.yaml', definitions, references);
    assert.deepEqual([release.anchorOutageMilliseconds, release.sessionMillisecondsMax], [0, 30 * 86_400_000]);
    assert.equal(release.notAfter, release.notBefore);
    assert.match(
      refusal(policyText.replace('{ continue-for: 10min }', 'go-on')).message,
      /"anchor-outage" must be wait/,
    );
    assert.match(
      refusal(policyText.replace('{ continue-for: 10min }', '{ wait: 1h }')).message,
      /lacks "continue-for"/,
    );
  });

  it('is known by the SHA-256 of its text and of the reference values that it uses, of initdata too', () => {
    const text = policyText.replace('may-create-key: true', 'initdata: { reference: digests }');
    const digests = `caisson-reference-values: 1\nname: digests\nvalues:\n${`  - ${'ab'.repeat(32)}\n`.repeat(30)}`;
    const sets = collectReferences([parseReferenceSet(images, 'i'), parseReferenceSet(digests, 'd')]);
    const digest = (of: string): string => createHash('sha256').update(of).digest('hex');
    for (const given of [text, new TextEncoder().encode(text)]) {
      const policy = parsePolicy(given, 'p.yaml', definitions, sets);
      assert.equal(policy.digest, digest(text));
      assert.deepEqual(policy.references, [
        { name: 'digests', digest: digest(digests) },
        { name: 'images', digest: digest(images) },
      ]);
    }
  });

  it('may have 32 profiles', () => {
    const profiles = (count: number): string =>
      Array.from(
        { length: count },
        (_, at) => `  p${at}: { technology: tdx, rules: { tdx.mr-td: ${'cc'.repeat(48)} } }\n`,
      ).join('');
    const text = (count: number): string => `caisson-policy: 1\nname: many\nprofiles:\n${profiles(count)}`;
    assert.equal(parsePolicy(text(32), 'p.yaml', definitions, references).profiles.length, 32);
    assert.match(refusal(text(33)).message, /33 profiles, at most 32/);
  });

  it('has careful defaults for what release does not say', () => {
    const { release } = parsePolicy(policyText.replace(/^release:[^]*$/m, ''), 'p.yaml', definitions, references);
    assert.deepEqual(
      [release.mayCreateKey, release.mayAdvanceAnchor, release.anchorOutageMilliseconds],
      [false, false, 0],
    );
    assert.deepEqual([release.collateralAgeMillisecondsMax, release.sessionMillisecondsMax], [604_800_000, 3_600_000]);
  });
});

/** From, to, and what is said: line and column at the start. Each stands for one check. */
const faults: readonly (readonly [string, string | RegExp, string, RegExp])[] = [
  ['another version', 'caisson-policy: 1', 'caisson-policy: 2', /^p:1:17: "caisson-policy" must be 1/],
  ['a version in quotation marks', 'caisson-policy: 1', 'caisson-policy: "1"', /^p:1:17: "caisson-policy" must be 1/],
  ['no version', 'caisson-policy: 1\n', '', /^p:1:1: a policy lacks "caisson-policy"/],
  ['no name', 'name: database\n', '', /lacks "name"/],
  ['a name with a capital', 'name: database', 'name: Database', /^p:2:7: "name" must have 1 to 64/],
  ['an unknown member', 'release:', 'releese:', /^p:23:1: a policy has no member "releese"; did you mean "release"\?/],
  [
    'an unknown member of a profile',
    '    rules:\n      snp',
    '    rule:\n      snp',
    /has no member "rule"; did you mean "rules"\?/,
  ],
  ['no profile', /profiles:[^]*release:/, 'profiles: {}\nrelease:', /"profiles" has none/],
  ['a profile that is a list', /profiles:[^]*release:/, 'profiles: {a: []}\nrelease:', /profile "a" must be a mapping/],
  ['a profile with a bad name', '  production:', '  Production:', /the name of a profile must have/],
  ['no technology', '    technology: snp\n', '', /profile "production" lacks "technology"/],
  [
    'an unknown technology',
    'technology: snp',
    'technology: snpp',
    /^p:6:17: "technology" must be one of snp, tdx; did you mean "snp"\?/,
  ],
  ['a technology that nobody verifies', 'technology: snp', 'technology: cca', /"technology" must be one of snp, tdx/],
  [
    'an unknown claim',
    'snp.measurement:',
    'snp.mesurement:',
    /\np:8:7: snp has no claim "snp.mesurement"; did you mean "snp.measurement"\?/,
  ],
  ['a claim of another technology', 'snp.vmpl:', 'tdx.mr-td:', /snp has no claim "tdx.mr-td"/],
  ['a claim that is not judged', /      snp.policy:.*\n/, '', /profile "production" says nothing about snp.policy/],
  ['debug true', '    waive:', '      debug: true\n    waive:', /the only rule about debug is false/],
  ['debug in a list', '    waive:', '      debug: [false]\n    waive:', /the only rule about debug is false/],
  [
    'a rule and a waiver',
    '      snp.image-id: not used',
    '      snp.vmpl: not used',
    /^p:15:7: snp.vmpl has a rule and a waiver/,
  ],
  ['a waiver of nothing', 'snp.image-id: not used', 'snp.image: not used', /snp has no claim "snp.image"/],
  [
    'a waiver without reason',
    'snp.image-id: not used',
    'snp.image-id: " "',
    /the reason for waiving snp.image-id is empty/,
  ],
  [
    'a measurement that is too short',
    '{ reference: images }',
    'aabb',
    /^p:8:24: the claim has 48 bytes, so 96 hexadecimal digits; these are 4/,
  ],
  ['a measurement that is no hexadecimal', '{ reference: images }', `0x${'a'.repeat(94)}`, /is not hexadecimal/],
  ['a text for a number', '{ at-most: 0 }', '{ at-most: none }', /"none" is not a whole number/],
  ['a number in quotation marks', '{ at-most: 0 }', '{ at-most: "0" }', /"0" is not a whole number/],
  ['a negative number', '{ at-most: 0 }', '{ at-most: -1 }', /"-1" is not a whole number/],
  ['a number beyond 2^53', '{ at-most: 0 }', '{ at-most: 9007199254740993 }', /is not a whole number/],
  ['an octal number', '{ at-most: 0 }', '{ at-most: 010 }', /"010" is not a whole number/],
  ['an unknown condition', '{ at-most: 0 }', '{ atmost: 0 }', /has no member "atmost"; did you mean "at-most"\?/],
  [
    'a condition of another kind',
    '{ at-most: 0 }',
    '{ only: [0] }',
    /a condition of snp.vmpl, a number, has no member "only"/,
  ],
  ['an empty condition', '{ at-most: 0 }', '{}', /says none of equals, one-of/],
  ['an empty list', '[UpToDate]', '[]', /the list of "one-of" is empty/],
  ['one-of with one value', '[UpToDate]', '{ one-of: UpToDate }', /"one-of" must be a list/],
  ['equals with a list', '[UpToDate]', '{ equals: [UpToDate] }', /"equals" takes one value/],
  ['a list within a list', '[UpToDate]', '[[UpToDate]]', /an item must be a mapping/],
  ['a date that is none', '2025-01-31', '2025-02-30', /"2025-02-30" is no date/],
  [
    'a duration that is none',
    '{ at-least: 2025-01-31 }',
    '{ age-at-most: 3 weeks }',
    /"age-at-most" must be a duration/,
  ],
  ['bits outside of the mask', 'equals: 0 }', 'equals: 1 }', /"equals" has bits that "mask" leaves out/],
  ['bits without a mask', 'mask: 0x80000, ', '', /"bits" lacks "mask"/],
  [
    'or-absent of what is always there',
    '{ at-most: 0 }',
    '{ at-most: 0, or-absent: true }',
    /snp.vmpl is never absent/,
  ],
  ['or-absent: false', 'or-absent: true', 'or-absent: false', /"or-absent" must be true/],
  [
    'unknown reference values',
    '{ reference: images }',
    '{ reference: image }',
    /^p:8:37: there are no reference values "image"; did you mean "images"\?/,
  ],
  ['a reference that is a list', '{ reference: images }', '{ reference: [] }', /there are no reference values/],
  ['a reference with more', '{ reference: images }', '[{ reference: images, x: 1 }]', /has no member "x"/],
  [
    'references of another length',
    'tcb.status: [UpToDate]',
    'tcb.status: [UpToDate]\n      snp.image-id: { reference: images }',
    /reference values "images" do not fit snp.image-id: images.yaml:4/,
  ],
  ['a member twice', 'name: database', 'name: database\nname: other', /^p:3:1: "name" stands here twice/],
  ['an alias', 'name: database', 'name: &a database\ndescription: *a', /anchors are not allowed/],
  ['a tag', 'name: database', 'name: !!binary database', /tags are not allowed/],
  ['an empty value', 'name: database', 'name:', /"name" is|"name" must|"name" has no value|there is no value/],
  ['a second document', 'caisson-policy: 1', '---\ncaisson-policy: 1\n---\na: 1\n---', /multiple documents/],
  ['a directive', 'caisson-policy: 1', '%YAML 1.1\n---\ncaisson-policy: 1', /directives are not allowed/],
  ['a merge key', 'caisson-policy: 1', '<<: {a: 1}\ncaisson-policy: 1', /has no member "<<"/],
  ['a mapping as a name', 'name: database', '? [a]\n: b\nname: database', /the name of a member must be a text/],
  ['a prototype', 'name: database', '__proto__: {}\nname: database', /has no member "__proto__"/],
  ['a byte order mark', 'caisson-policy', '\u{feff}caisson-policy', /byte order mark/],
  ['a text that is too deep', 'name: database', `name: ${'['.repeat(20)}${']'.repeat(20)}`, /nested deeper than 12/],
  ['a text that is far too deep', 'name: database', `name: ${'['.repeat(30_000)}`, /^p:/],
  [
    'a text that is too long',
    'name: database',
    `name: database # ${'x'.repeat(policyBytesMax)}`,
    /bytes, at most 131072/,
  ],
  ['no YAML', /[^]*/, 'a: [', /^p:/],
  ['nothing', /[^]*/, '', /the text is empty/],
  ['a scalar', /[^]*/, 'policy', /a policy must be a mapping/],
  ['a wrong time window', 'not-before: 2026-01-01', 'not-before: 2029-01-01', /"not-after" lies before "not-before"/],
  ['a time that is none', 'not-before: 2026-01-01', 'not-before: today', /"not-before" must be a date/],
  ['a key pattern with two stars', 'database-*', '*-database-*', /is not a name of a key, with one \*/],
  ['no keys', 'keys: [database, "database-*"]', 'keys: []', /"keys" is empty/],
  ['keys that are no list', 'keys: [database, "database-*"]', 'keys: database', /"keys" must be a list/],
  ['a volume id that is none', 'keys: [database, "database-*"]', 'volumes: [abc]', /is not a volume id/],
  [
    'an unknown suite',
    'keys: [database, "database-*"]',
    'suites: [x25591]',
    /"x25591" in "suites" is not one of .*; did you mean "x25519"\?/,
  ],
  ['no initdata', 'keys: [database, "database-*"]', 'initdata: []', /"initdata" is empty/],
  [
    'initdata of another length',
    'keys: [database, "database-*"]',
    'initdata: aabb',
    /digests of initdata have 32, 48 or 64 bytes/,
  ],
  ['may-create-key: yes', 'may-create-key: true', 'may-create-key: yes', /"may-create-key" must be true or false/],
  [
    'a session without end',
    'session-max: 2h',
    'session-max: 31d',
    /"session-max" must be a duration such as 12h, at most 30d/,
  ],
  [
    'an outage without end',
    'continue-for: 10min',
    'continue-for: 2d',
    /"continue-for" must be a duration such as 12h, at most 1d/,
  ],
  ['an outage of another kind', '{ continue-for: 10min }', 'continue', /"anchor-outage" must be wait, or/],
  [
    'a boolean with a list',
    '    waive:',
    '      snp.smt: [true]\n    waive:',
    /snp.smt is a boolean: write one of equals/,
  ],
  ['a boolean with yes', '    waive:', '      snp.smt: yes\n    waive:', /"yes" is neither true nor false/],
  [
    'a boolean in quotation marks',
    '    waive:',
    '      snp.smt: "true"\n    waive:',
    /"true" is neither true nor false/,
  ],
  ['bits that are a number', '{ bits: { mask: 0x80000, equals: 0 } }', '{ bits: 0x80000 }', /"bits" must be a mapping/],
  ['bits with a faulty mask', 'mask: 0x80000', 'mask: x', /"x" is not a whole number/],
  ['bits with a faulty value', 'equals: 0 }', 'equals: x }', /"x" is not a whole number/],
  ['bits with a list', 'equals: 0 }', 'equals: [0] }', /one value must stand here/],
  ['or-absent in quotation marks', 'or-absent: true', 'or-absent: "true"', /"or-absent" must be true/],
  ['or-absent as a list', 'or-absent: true', 'or-absent: [true]', /"or-absent" must be true/],
  ['an empty text', '[UpToDate]', '[""]', /a text has 1 to 512 characters/],
  ['a text of 513 characters', '[UpToDate]', `[${'x'.repeat(513)}]`, /a text has 1 to 512 characters/],
  ['a date with a word after it', '2025-01-31', '2025-01-31 noon', /is no date/],
  ['a description that is a list', 'description: a test', 'description: [a]', /"description" must be a text/],
  [
    'blocks that are too deep',
    'description: a test',
    `description:\n${Array.from({ length: 14 }, (_, at) => `${' '.repeat(at + 1)}a:`).join('\n')} 1`,
    /nested deeper than 12 levels/,
  ],
  ['a list that is too long', '[UpToDate]', `[${'a,'.repeat(4097)}]`, /4097 entries, at most 4096/],
];

describe('a faulty policy is refused, with line and column:', () => {
  for (const [name, from, to, said] of faults) {
    it(name, () => {
      const text = policyText.replace(from, () => to);
      assert.notEqual(text, policyText);
      assert.match(refusal(text).message, said);
    });
  }

  it('all problems at once, in the order of the text', () => {
    const text = policyText
      .replace('name: database', 'name: X')
      .replace('at-most: 0', 'at-most: x')
      .replace('[UpToDate]', '[]');
    const error = refusal(text);
    assert.deepEqual(
      error.message.split('\n').map((line) => line.split(':')[1]),
      ['2', '10', '12'],
    );
    assert.deepEqual([error.details['problems'], error.details['line'], error.details['column']], [3, 2, 7]);
  });

  it('no more than fifty of them', () => {
    const many = Array.from({ length: 500 }, (_, at) => `x${at}: 1`).join('\n');
    const lines = refusal(`${policyText}\n${many}`.replace('release:', 'release:\n  x: 1')).message.split('\n');
    assert.deepEqual([lines.length, lines.at(-1)], [51, 'and 451 more']);
  });

  it('bytes that are not UTF-8', () => {
    const bytes = new TextEncoder().encode(policyText);
    bytes[20] = 0xff;
    assert.match(refusal(bytes).message, /not UTF-8/);
  });

  it('control characters do not reach the message', () => {
    const { message } = refusal(policyText.replace('release:', '"rel\\u001bease":'));
    assert.match(message, /"rel\?ease"/);
    assert.ok(!message.includes('\u001b'));
  });

  /** Each keeps a parser of YAML busy for seconds, or fills its stack; none gets that far. */
  const hostile: readonly (readonly [string, string, RegExp])[] = [
    ['open brackets', '['.repeat(100_000), /^p:1:13: nested deeper than 12 levels$/],
    ['open braces', 'a: {b: '.repeat(10_000), /^p:1:\d+: nested deeper/],
    ['dashes', '- '.repeat(50_000), /^p:1:25: nested deeper/],
    ['question marks', '? '.repeat(50_000), /^p:1:25: nested deeper/],
    ['quotation marks', '"'.repeat(100_000), /^p:1:40001: more than 20000 values/],
    ['lines', '\n'.repeat(100_000), /^p:20001:1: more than 20000 values/],
    ['commas', `[${','.repeat(100_000)}`, /more than 20000 values/],
    ['escapes', `"${'\\q'.repeat(50_000)}"`, /^p:1:1: a text of 100002 characters, at most 8192$/],
    ['tags', '! '.repeat(50_000), /^p:1:1: tags are not allowed$/],
    ['an alias', 'a: 1\nb: *a', /^p:2:4: aliases are not allowed/],
  ];
  for (const [name, text, said] of hostile)
    it(`a text full of ${name}`, () => assert.match(refusal(text).message, said));

  it('but not for what a value of several lines begins with', () => {
    for (const value of ['|\n  *not an alias\n  &nor an anchor', '"*a"', "'!b'", 'c # *d'])
      parsePolicy(
        policyText.replace('a test', () => value),
        'p',
        definitions,
        references,
      );
  });

  it('thousands of members within a moment', () => {
    const many = Array.from({ length: 4_500 }, (_, at) => `x${at}: 1`).join('\n');
    assert.match(refusal(`a:\n${many.replace(/^/gm, ' ')}`).message, /4500 entries, at most 4096/);
  });
});

describe('reference values', () => {
  const broken: readonly (readonly [string, string, RegExp])[] = [
    ['\nvalues:', '\nvalue:', /no member "value"; did you mean "values"\?/],
    ['name: images', 'name: Images', /"name" must have/],
    ['2026-05-01', 'next year', /"valid-until" must be a date/],
    ['- value:', '- valeu:', /no member "valeu"/],
    ['caisson-reference-values: 1', 'caisson-reference-values: 2', /must be 1/],
  ];
  for (const [from, to, said] of broken) {
    it(`with "${to}" are refused`, () => {
      assert.throws(() => parseReferenceSet(images.replace(from, to), 'images.yaml'), isInvalid(said));
    });
  }

  it('of another form are refused', () => {
    assert.throws(() => parseReferenceSet('- 1', 'i'), isInvalid(/must be a mapping/));
    assert.throws(() => parseReferenceSet('a: [', 'i'), isInvalid(/^i:/));
  });

  it('of one name are refused', () => {
    const sets = [parseReferenceSet(images, 'a.yaml'), parseReferenceSet(images, 'b.yaml')];
    assert.throws(() => collectReferences(sets), isInvalid(/"images" are in a.yaml already/));
  });
});

function refusal(text: string | Uint8Array): CaissonError {
  try {
    parsePolicy(text, 'p', definitions, references);
  } catch (error) {
    if (error instanceof CaissonError && error.code === 'policy-invalid') return error;
    throw error;
  }
  throw new assert.AssertionError({ message: 'the policy was not refused' });
}

function isInvalid(said: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof CaissonError && error.code === 'policy-invalid' && said.test(error.message);
}
