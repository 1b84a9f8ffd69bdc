/**
 * What the checks see of the repository: its text files, and the syntax tree of each TypeScript file.
 *
 * Files come from the disk, not from git, so that a new file is checked before it is added.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync } from 'oxc-parser';

export const repositoryRoot = resolve(import.meta.dirname, '..');

/** Folders that tools write and git ignores, and frozen data. */
const skippedFolders = new Set(['.git', 'node_modules', 'dist', 'coverage', '.cache']);

export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

export interface SourceFile {
  /** Relative to the root, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly program: SyntaxNode;
}

export function listFiles(root: string, folder = '.'): string[] {
  const found: string[] = [];
  const absolute = join(root, folder);
  if (!existsSync(absolute)) return found;
  for (const entry of readdirSync(absolute, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !skippedFolders.has(entry.name)) found.push(...listFiles(root, path));
    if (entry.isFile()) found.push(path);
  }
  return found.sort();
}

export function loadSources(root: string, folders: readonly string[]): SourceFile[] {
  const paths = folders.flatMap((folder) => listFiles(root, folder)).filter((path) => path.endsWith('.ts'));
  return paths.map((path) => parseSource(path, readFileSync(join(root, path), 'utf8')));
}

export function parseSource(path: string, text: string): SourceFile {
  const { program, errors } = parseSync(path, text, { lang: 'ts', sourceType: 'module' });
  if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]?.message}`);
  return { path, text, program: program as unknown as SyntaxNode };
}

/** Every node below `node`, parents first. */
export function* walk(node: SyntaxNode): Generator<SyntaxNode> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) yield* walk(child);
    }
  }
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

export function lineOf(text: string, offset: number): number {
  return text.substring(0, offset).split('\n').length;
}

export interface Import {
  readonly specifier: string;
  readonly line: number;
}

/**
 * Everything that makes one module depend on another: static, re-exporting, type-only and dynamic
 * imports, `import('…')` types, and `new URL('…', import.meta.url)`, which is how workers are named.
 */
export function importsOf(file: SourceFile): Import[] {
  const found: Import[] = [];
  for (const node of walk(file.program)) {
    const specifier = specifierOf(node);
    if (specifier !== undefined) found.push({ specifier, line: lineOf(file.text, node.start) });
  }
  return found;
}

function specifierOf(node: SyntaxNode): string | undefined {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
    case 'TSImportType':
      return stringIn(node['source'] ?? node['argument']);
    case 'NewExpression':
      return moduleUrlOf(node);
    default:
      return undefined;
  }
}

function moduleUrlOf(node: SyntaxNode): string | undefined {
  const [first, second] = node['arguments'] as (SyntaxNode | undefined)[];
  if ((node['callee'] as SyntaxNode)['name'] !== 'URL' || second?.type !== 'MemberExpression') return undefined;
  const object = second['object'] as SyntaxNode;
  const specifier = stringIn(first) ?? stemIn(first);
  return object.type === 'MetaProperty' && specifier?.endsWith('.ts') ? specifier : undefined;
}

/** `./worker.${extension}`: a module that is .ts in the repository and .js in the package. */
function stemIn(node: SyntaxNode | undefined): string | undefined {
  const [stem, rest] = (node?.['quasis'] ?? []) as { value: { cooked: string } }[];
  return stem?.value.cooked.endsWith('.') === true && rest?.value.cooked === '' ? `${stem.value.cooked}ts` : undefined;
}

function stringIn(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === 'TSLiteralType') return stringIn(node['literal']);
  if (node.type === 'Literal' && typeof node['value'] === 'string') return node['value'];
  const quasis = node['quasis'] as { value: { cooked: string } }[] | undefined;
  return node.type === 'TemplateLiteral' && quasis?.length === 1 ? quasis[0]?.value.cooked : undefined;
}

/** The repository path a relative specifier names, or undefined for packages and built-ins. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return relative('/', resolve('/', dirname(from), specifier));
}
