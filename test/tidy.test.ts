/** Each house rule has a canary here that breaks it; the repository itself is checked by `npm run check`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSource } from '../tools/source-files.ts';
import { checkTidiness, type Repository } from '../tools/tidy.ts';

function repository(files: Record<string, string>, ratchet: Record<string, number> = {}): Repository {
  const sources = Object.entries(files).filter(([path]) => path.endsWith('.ts'));
  return {
    texts: new Map(Object.entries(files)),
    sources: sources.map(([path, text]) => parseSource(path, text)),
    ratchet,
  };
}

const importer = { 'src/api.ts': "export * from './volume/x.ts';" };
const lines = (count: number): string => 'export const a = 1;\n'.repeat(count);
const longFunction = (count: number): string => `export function long(): void {\n${'  f();\n'.repeat(count - 2)}}\n`;
const later = ['TO', 'DO'].join('');
const home = ['/ro', 'ot/'].join('');

const canaries: readonly {
  name: string;
  files: Record<string, string>;
  ratchet?: Record<string, number>;
  complaint: RegExp;
}[] = [
  ...['Date.now()', 'Math.random()', 'setTimeout(f, 1)', 'process.env', 'console.log(1)', 'performance.now()'].map(
    (code) => ({
      name: `${code} in the engine`,
      files: { ...importer, 'src/volume/x.ts': `export const f = () => ${code};` },
      complaint: /x\.ts:1: no .* here/,
    }),
  ),
  {
    name: 'slice',
    files: { ...importer, 'src/volume/x.ts': 'export const f = (b: Uint8Array) => b.slice(1);' },
    complaint: /no \.slice here/,
  },
  { name: 'long file', files: { ...importer, 'src/volume/x.ts': lines(601) }, complaint: /601 lines, at most 600/ },
  {
    name: 'long function',
    files: { ...importer, 'src/volume/x.ts': longFunction(71) },
    complaint: /x\.ts#long: 71 lines, at most 70/,
  },
  {
    name: 'ratchet goes up',
    files: { ...importer, 'src/volume/x.ts': longFunction(81) },
    ratchet: { 'src/volume/x.ts#long': 80 },
    complaint: /81 lines, at most 80/,
  },
  {
    name: 'ratchet is loose',
    files: { ...importer, 'src/volume/x.ts': longFunction(75) },
    ratchet: { 'src/volume/x.ts#long': 80 },
    complaint: /lower its number/,
  },
  {
    name: 'ratchet is not needed',
    files: { ...importer, 'src/volume/x.ts': longFunction(9) },
    ratchet: { 'src/volume/x.ts#long': 80 },
    complaint: /take it out/,
  },
  { name: 'unused file', files: { 'src/lib/x.ts': 'export const a = 1;' }, complaint: /nothing but tests imports it/ },
  {
    name: 'file used by its test alone',
    files: { 'src/lib/x.ts': 'export const a = 1;', 'src/lib/x.test.ts': "import './x.ts';" },
    complaint: /nothing but tests imports it/,
  },
  { name: 'unfinished work', files: { 'README.md': `${later}: later` }, complaint: /README\.md:1/ },
  { name: 'machine path', files: { 'docs/x.md': `see ${home}.npmrc` }, complaint: /no path of one machine/ },
  {
    name: 'focused test',
    files: { 'src/lib/x.test.ts': ['test', "only('a', f);"].join('.') },
    complaint: /run one file by its path/,
  },
  {
    name: 'broken link',
    files: { 'docs/x.md': 'see [y](../spec/y.md#z)' },
    complaint: /\.\.\/spec\/y\.md leads nowhere/,
  },
  { name: 'unlisted page', files: { 'spec/y.md': '# Y' }, complaint: /spec\/y\.md: add a line/ },
  { name: 'blank at the end', files: { 'README.md': 'Caisson \n' }, complaint: /no blanks/ },
  {
    name: 'install script',
    files: { 'package-lock.json': '"hasInstallScript": true,' },
    complaint: /no package that runs code/,
  },
  {
    name: 'private registry',
    files: { 'package-lock.json': '"resolved": "https://npm.example.com/x.tgz"' },
    complaint: /no private registry/,
  },
];

for (const { name, files, ratchet, complaint } of canaries) {
  test(`seen: ${name}`, () => {
    assert.match(checkTidiness(repository(files, ratchet)).join('\n'), complaint);
  });
}

const codec = {
  'src/api.ts': "export * from './segment/unit-format.ts';",
  'src/segment/unit-format.ts': 'export const a = 1;',
};
const proof = {
  'spec/unit-format.md': '# Unit\n',
  'spec/README.md': '[unit](unit-format.md)',
  'test/vectors/unit-format/good.txt': 'x',
  'test/fuzz/unit.fuzz.ts': "import '../../src/segment/unit-format.ts';",
};

for (const missing of Object.keys(proof).filter((path) => path !== 'spec/README.md')) {
  test(`seen: a format without ${missing}`, () => {
    const files = Object.fromEntries(Object.entries({ ...codec, ...proof }).filter(([path]) => path !== missing));
    assert.match(checkTidiness(repository(files)).join(), /^src\/segment\/unit-format\.ts: no /);
  });
}

test('a format may name a page and vectors that it shares', () => {
  const header = '/** Spec: spec/units.md. Vectors: test/vectors/units/ */ export const a = 1;';
  const files = { ...codec, ...proof, 'src/segment/unit-format.ts': header };
  assert.match(checkTidiness(repository(files)).join(), /no spec\/units.md.*no test\/vectors\/units\//);
  assert.deepEqual(
    checkTidiness(
      repository({
        ...files,
        'spec/units.md': '# Units',
        'spec/README.md': '[unit](unit-format.md) [units](units.md)',
        'test/vectors/units/good.txt': 'x',
      }),
    ),
    [],
  );
});

test('a complete repository has no complaint', () => {
  assert.deepEqual(checkTidiness(repository({ ...codec, ...proof })), []);
});

test('code outside the engine may read the clock', () => {
  const files = {
    'src/api.ts': "export * from './daemon/x.ts';",
    'src/daemon/x.ts': 'export const f = () => Date.now();',
  };
  assert.deepEqual(checkTidiness(repository(files)), []);
});
