/** The checker of the import rules sees every kind of import, and lets the ones through that are allowed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLayers, unseenCanaries } from '../tools/layers.ts';
import { parseSource } from '../tools/source-files.ts';

test('every canary is seen', () => {
  assert.deepEqual(unseenCanaries(), []);
});

test('allowed imports pass', () => {
  const report = checkLayers([
    parseSource('src/lib/bytes.ts', 'export const a = 1;'),
    parseSource('src/store/store.ts', "import { a } from '../lib/bytes.ts';\nexport const b = a;"),
    parseSource('src/spool/spool.ts', "import { b } from '../store/store.ts';\nexport const c = b;"),
    parseSource('src/spool/spool.test.ts', "import { c } from './spool.ts';\nimport 'node:test';\nexport const d = c;"),
  ]);
  assert.deepEqual(report.violations, []);
  assert.equal(report.modules, 4);
  assert.equal(report.imports, 4);
});
