/**
 * House rules that no linter knows. Each complaint names what to do instead; each rule has a canary in
 * `test/tidy.test.ts` that has to fail. `tools/ratchet.json` lists the files and functions that are
 * longer than the rule allows: their numbers may only go down, and an entry that is not needed fails.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import {
  importsOf,
  isNode,
  lineOf,
  listFiles,
  loadSources,
  repositoryRoot,
  resolveImport,
  walk,
  type SourceFile,
  type SyntaxNode,
} from './source-files.ts';

const fileLinesMax = 600;
const functionLinesMax = 70;

/** Folders whose code must replay from a seed: time, chance and the environment are given to them. */
const pureFolders = [
  'lib',
  'crypto',
  'store',
  'segment',
  'spool',
  'block-map',
  'manifest',
  'anchor',
  'keys',
  'volume',
  'hashed',
];
/** The one place that turns the system's clock into the injected one. */
const clockFile = 'src/lib/clock.ts';

export interface Repository {
  /** Every text file: path to content. */
  readonly texts: ReadonlyMap<string, string>;
  readonly sources: readonly SourceFile[];
  /** `path` or `path#function` to lines. */
  readonly ratchet: Readonly<Record<string, number>>;
}

const bannedCalls: Readonly<Record<string, string>> = {
  'Date.now': 'take a Clock (lib/clock.ts)',
  'performance.now': 'take a Clock (lib/clock.ts)',
  'Math.random': 'take a Random (lib/random.ts)',
  setTimeout: 'use Clock.after (lib/clock.ts)',
  setInterval: 'use Clock.after (lib/clock.ts)',
  'process.env': 'pass the value in from daemon/ or cli/',
  console: 'return a value or a CaissonError; only daemon/ and cli/ speak',
};

export function bannedNames(source: SourceFile): string[] {
  if (!isPure(source.path) || source.path === clockFile) return [];
  const found: string[] = [];
  for (const node of walk(source.program)) {
    const name = dottedName(node);
    const instead = Object.hasOwn(bannedCalls, name) ? bannedCalls[name] : undefined;
    if (instead !== undefined)
      found.push(`${source.path}:${lineOf(source.text, node.start)}: no ${name} here: ${instead}`);
    if (isSliceCall(node)) {
      found.push(
        `${source.path}:${lineOf(source.text, node.start)}: no .slice here: bytes want subarray, text substring, lists toSpliced`,
      );
    }
  }
  return found;
}

function isPure(path: string): boolean {
  return !path.endsWith('.test.ts') && pureFolders.some((folder) => path.startsWith(`src/${folder}/`));
}

function dottedName(node: SyntaxNode): string {
  if (node.type === 'CallExpression' || node.type === 'MemberExpression') {
    const target = (node.type === 'CallExpression' ? node['callee'] : node['object']) as SyntaxNode;
    const property = node['property'] as SyntaxNode | undefined;
    if (target.type !== 'Identifier') return '';
    const owner = String(target['name']);
    if (node.type === 'CallExpression' || owner === 'console') return owner;
    return `${owner}.${String(property?.['name'])}`;
  }
  return '';
}

function isSliceCall(node: SyntaxNode): boolean {
  if (node.type !== 'CallExpression') return false;
  const callee = node['callee'] as SyntaxNode;
  return callee.type === 'MemberExpression' && (callee['property'] as SyntaxNode)['name'] === 'slice';
}

export function tooLong({ sources, texts, ratchet }: Repository): string[] {
  const found: string[] = [];
  const needed = new Set<string>();
  function check(key: string, lines: number, linesMax: number): void {
    const allowed = ratchet[key] ?? linesMax;
    if (lines > linesMax) needed.add(key);
    if (lines > allowed) found.push(`${key}: ${lines} lines, at most ${allowed}: split it`);
    if (key in ratchet && lines > linesMax && lines < allowed) {
      found.push(`${key}: ${lines} lines now: lower its number in tools/ratchet.json`);
    }
  }
  for (const source of sources) {
    check(source.path, (texts.get(source.path) ?? source.text).split('\n').length - 1, fileLinesMax);
    if (/^test\/|\.test\.ts$/.test(source.path)) continue;
    for (const { name, lines } of functionsOf(source)) check(`${source.path}#${name}`, lines, functionLinesMax);
  }
  for (const key of Object.keys(ratchet)) {
    if (!needed.has(key)) found.push(`${key}: no longer too long: take it out of tools/ratchet.json`);
  }
  return found;
}

function functionsOf(source: SourceFile): { name: string; lines: number }[] {
  const found: { name: string; lines: number }[] = [];
  const names = new Map<SyntaxNode, string>();
  for (const node of walk(source.program)) {
    const named = node['id'] ?? node['key'];
    const value = node['init'] ?? node['value'];
    if (isNode(named) && isNode(value)) names.set(value, String(named['name']));
    if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)) continue;
    const own = node['id'];
    const name = isNode(own) ? String(own['name']) : (names.get(node) ?? 'anonymous');
    found.push({ name, lines: lineOf(source.text, node.end) - lineOf(source.text, node.start) + 1 });
  }
  return found;
}

/**
 * Every byte format has its page, its frozen vectors and a fuzz target that imports it. Page and vectors have the
 * format's name, or are named in its header: "Spec: spec/<page>.md", "Vectors: test/vectors/<folder>/".
 */
export function formatsWithoutProof({ texts, sources }: Repository): string[] {
  const found: string[] = [];
  const paths = [...texts.keys()];
  const fuzzed = new Set(
    sources
      .filter(({ path }) => /^test\/fuzz\/.*\.fuzz\.ts$/.test(path))
      .flatMap((target) => importsOf(target).map(({ specifier }) => resolveImport(target.path, specifier))),
  );
  for (const { path, text } of sources) {
    const name = /^src\/.*\/([a-z0-9-]+-format)\.ts$/.exec(path)?.[1];
    if (name === undefined) continue;
    const page = /Spec: (spec\/[a-z0-9-]+\.md)/.exec(text)?.[1] ?? `spec/${name}.md`;
    const vectors = /Vectors: (test\/vectors\/[a-z0-9-]+\/)/.exec(text)?.[1] ?? `test/vectors/${name}/`;
    if (!texts.has(page))
      found.push(`${path}: no ${page}: write it, or name the page in the header: "Spec: spec/<page>.md"`);
    if (!paths.some((other) => other.startsWith(vectors))) {
      found.push(
        `${path}: no ${vectors}: add one good file and one per fault, or name the folder in the header: "Vectors: test/vectors/<folder>/"`,
      );
    }
    if (!fuzzed.has(path)) {
      found.push(`${path}: no test/fuzz/*.fuzz.ts imports it: add a target that exports fuzz(seed, iterations)`);
    }
  }
  return found;
}

/** Modules that are started by a name no import shows: the commands' and the package's front doors. */
const entryPoints = ['src/api.ts', 'src/cli/main.ts', 'src/daemon/main.ts'];

export function filesNobodyImports({ sources }: Repository): string[] {
  const imported = new Set<string>();
  for (const source of sources) {
    if (/^src\/.*\.test\.ts$/.test(source.path)) continue;
    for (const { specifier } of importsOf(source)) imported.add(resolveImport(source.path, specifier) ?? '');
  }
  return sources
    .filter(({ path }) => path.startsWith('src/') && !path.endsWith('.test.ts'))
    .filter(({ path }) => !imported.has(path) && !entryPoints.includes(path))
    .map(({ path }) => `${path}: nothing but tests imports it: wire it in or delete it`);
}

/** Written in pieces, so that this file does not complain about itself. */
const bannedTexts: readonly { readonly pattern: RegExp; readonly only?: RegExp; readonly instead: string }[] = [
  {
    pattern: new RegExp(`\\b(?:${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|X{3})\\b`),
    instead: 'do it, or write it down in docs/status.md',
  },
  { pattern: /\b(?:test|it|describe|suite)\.only\b/, only: /\.ts$/, instead: 'run one file by its path' },
  {
    pattern: new RegExp(`(?:^|[\\s"'\`(=])/(?:${['wo', 'rk'].join('')}|${['ro', 'ot'].join('')})/`),
    instead: 'no path of one machine; use a temporary folder',
  },
  {
    pattern: /"resolved": "(?!https:\/\/registry\.npmjs\.org\/)/,
    only: /package-lock\.json$/,
    instead: 'no private registry in the lock file',
  },
  {
    pattern: /"hasInstallScript": true/,
    only: /package-lock\.json$/,
    instead: 'no package that runs code when it is installed',
  },
  { pattern: /[^\S\n]+$/, only: /\.(?:ts|md|sh|json|yml|yaml)$/, instead: 'no blanks at the end of a line' },
];

export function bannedWords({ texts }: Repository): string[] {
  const found: string[] = [];
  for (const [path, text] of texts) {
    const rules = bannedTexts.filter(({ only }) => only === undefined || only.test(path));
    text.split('\n').forEach((line, index) => {
      for (const { pattern, instead } of rules) {
        if (pattern.test(line))
          found.push(`${path}:${index + 1}: ${JSON.stringify(pattern.exec(line)?.[0].trim())}: ${instead}`);
      }
    });
  }
  return found;
}

/** Links between pages lead somewhere. */
export function brokenLinks({ texts }: Repository): string[] {
  const found: string[] = [];
  const paths = [...texts.keys()];
  for (const [path, text] of texts) {
    if (!path.endsWith('.md')) continue;
    for (const [, link = ''] of text.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)/g)) {
      const target = relative('/', resolve('/', dirname(path), link));
      const exists = texts.has(target) || paths.some((other) => other.startsWith(`${target}/`));
      if (!exists) found.push(`${path}: the link to ${link} leads nowhere`);
    }
  }
  return found;
}

/** Whoever looks for a format finds it in the index. */
export function unlistedPages({ texts }: Repository): string[] {
  const index = texts.get('spec/README.md') ?? '';
  return [...texts.keys()]
    .filter((path) => /^spec\/[^/]+\.md$/.test(path) && path !== 'spec/README.md')
    .filter((path) => !index.includes(`](${path.replace('spec/', '')})`))
    .map((path) => `${path}: add a line to spec/README.md`);
}

export function checkTidiness(repository: Repository): string[] {
  return [
    ...repository.sources.flatMap(bannedNames),
    ...tooLong(repository),
    ...formatsWithoutProof(repository),
    ...filesNobodyImports(repository),
    ...bannedWords(repository),
    ...brokenLinks(repository),
    ...unlistedPages(repository),
  ];
}

export function loadRepository(root: string): Repository {
  const texts = new Map<string, string>();
  for (const path of listFiles(root)) {
    const bytes = readFileSync(join(root, path));
    if (!bytes.includes(0)) texts.set(path, bytes.toString('utf8'));
    else texts.set(path, '');
  }
  const ratchet = JSON.parse(texts.get('tools/ratchet.json') ?? '{}') as Record<string, number>;
  return { texts, sources: loadSources(root, ['src', 'test', 'tools', 'bench']), ratchet };
}

if (import.meta.main) {
  const repository = loadRepository(repositoryRoot);
  const complaints = checkTidiness(repository);
  for (const complaint of complaints) console.error(complaint);
  console.log(`tidy: ${repository.texts.size} files, ${complaints.length} complaints`);
  process.exitCode = complaints.length > 0 ? 1 : 0;
}
