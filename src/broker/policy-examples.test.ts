/** The policies that come with Caisson: one for each technology, checked and tried as a person would. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { technologies } from '../wire/evidence.ts';
import { verifiers } from './attest/verifiers.ts';
import { initdataClaims } from './policy/release-section.ts';
import { localPolicyTools } from './policy-tools.ts';

const folder = resolve(import.meta.dirname, '../../deploy/policies');
const tools = localPolicyTools();

describe('the example policies', () => {
  it('are there for each technology, with tests', () => {
    const names = readdirSync(folder).filter((name) => name !== 'reference-values.yaml');
    const wanted = technologies.flatMap((technology) => [`${technology}.yaml`, `${technology}.test.yaml`]);
    assert.deepEqual(names.toSorted(), wanted.toSorted());
    assert.deepEqual([...verifiers.keys()].toSorted(), technologies.toSorted());
  });

  it('are good', async () => {
    const { files } = await tools.check(
      readdirSync(folder).map((name) => join(folder, name)),
      [],
    );
    assert.deepEqual(
      files.filter(({ problems }) => problems.length > 0),
      [],
    );
  });

  it('refuse and allow what their tests say', async () => {
    const { passed, cases } = await tools.test([folder]);
    assert.deepEqual(
      cases.filter(({ failure }) => failure !== undefined),
      [],
    );
    assert.ok(passed > 50, `${passed} cases`);
  });

  for (const technology of technologies) {
    it(`of ${technology} waives no debug, and is printed with its comments`, async () => {
      const text = await tools.example(technology);
      assert.match(text, new RegExp(`technology: ${technology}$`, 'm'));
      assert.doesNotMatch(text, /^ +debug:/m);
      assert.ok((text.match(/^ *#/gm) ?? []).length > 8);
    });
  }
});

it('claims that carry initdata are claims of their technology, of bytes', () => {
  for (const [technology, claim] of Object.entries(initdataClaims)) {
    const definitions = verifiers.get(technology as keyof typeof initdataClaims)?.definitions ?? [];
    assert.equal(definitions.find(({ name }) => name === claim)?.kind, 'bytes', `${technology} ${claim}`);
  }
});
