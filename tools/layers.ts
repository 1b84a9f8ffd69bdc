/**
 * Checks the import rules over `src/`: forbidden edges, unknown folders, cycles (type-only ones too).
 *
 * Each run also checks the canaries, small trees that break one rule each, and a minimum of modules,
 * so that a checker that sees nothing cannot pass.
 */
import { builtinModules } from 'node:module';
import { importRules, pureBuiltins, type ImportRule } from './import-rules.ts';
import { layerCanaries } from './layer-canaries.ts';
import { importsOf, loadSources, parseSource, repositoryRoot, resolveImport, type SourceFile } from './source-files.ts';

/** Fewer modules than this means that the checker looked in the wrong place. */
const modulesMin = 30;
const sourceFolderLength = 'src/'.length;

export interface LayerReport {
  readonly modules: number;
  readonly imports: number;
  readonly violations: string[];
}

export function checkLayers(sources: readonly SourceFile[]): LayerReport {
  const known = new Set(sources.map((source) => source.path));
  const edges = new Map<string, string[]>();
  const violations: string[] = [];
  let imports = 0;
  for (const source of sources) {
    const targets: string[] = [];
    edges.set(source.path, targets);
    for (const { specifier, line } of importsOf(source)) {
      imports += 1;
      const target = resolveImport(source.path, specifier);
      const problem =
        target === undefined ? outsideProblem(source.path, specifier) : ownProblem(source.path, target, known);
      if (problem !== undefined) violations.push(`${source.path}:${line} imports ${specifier}: ${problem}`);
      if (target !== undefined && known.has(target)) targets.push(target);
    }
  }
  for (const cycle of findCycles(edges)) violations.push(`cycle: ${cycle.join(' -> ')}`);
  return { modules: sources.length, imports, violations };
}

function ownProblem(from: string, to: string, known: ReadonlySet<string>): string | undefined {
  if (!to.startsWith('src/')) {
    return isTest(from) ? undefined : 'the product never imports test/, bench/ or tools/';
  }
  if (!known.has(to)) return `there is no file ${to}`;
  if (isTest(from)) return undefined;
  if (isTest(to)) return 'a test is nobody’s dependency';
  const source = from.substring(sourceFolderLength);
  const target = to.substring(sourceFolderLength);
  const rule = ruleFor(source);
  if (rule === undefined) return `no import rule covers ${source}: add a row to tools/import-rules.ts`;
  const allowed = isWithin(target, rule.place) || rule.own.some((place) => isWithin(target, place));
  return allowed ? undefined : `${rule.place} may import only ${rule.own.join(', ') || 'itself'} (${rule.why})`;
}

function outsideProblem(from: string, specifier: string): string | undefined {
  if (isTest(from)) return undefined;
  const rule = ruleFor(from.substring(sourceFolderLength));
  if (rule === undefined) return `no import rule covers ${from}: add a row to tools/import-rules.ts`;
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) {
    const allowed = rule.builtins.includes('*') || [...pureBuiltins, ...rule.builtins].includes(specifier);
    return allowed ? undefined : `${rule.place} may use only ${[...pureBuiltins, ...rule.builtins].join(', ')}`;
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  if (rule.packages.includes(name)) return undefined;
  return `${rule.place} may use only the packages ${rule.packages.join(', ') || '(none)'}`;
}

function ruleFor(path: string): ImportRule | undefined {
  const rules = importRules.filter((rule) => isWithin(path, rule.place));
  return rules.toSorted((left, right) => right.place.length - left.place.length)[0];
}

function isWithin(path: string, place: string): boolean {
  return path === place || path.startsWith(`${place}/`);
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts');
}

/** One cycle per strongly connected group is enough to fail; the walk reports the first it closes. */
function findCycles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const finished = new Set<string>();
  const trail: string[] = [];
  function visit(path: string): void {
    const at = trail.indexOf(path);
    if (at >= 0) {
      cycles.push([...trail.slice(at), path]);
      return;
    }
    if (finished.has(path)) return;
    trail.push(path);
    for (const target of edges.get(path) ?? []) visit(target);
    trail.pop();
    finished.add(path);
  }
  for (const path of edges.keys()) visit(path);
  return cycles;
}

/** The canaries that `checkLayers` fails to see. */
export function unseenCanaries(): string[] {
  const unseen = layerCanaries.filter(({ files, complaint }) => {
    const sources = Object.entries(files).map(([path, text]) => parseSource(path, text));
    return !checkLayers(sources).violations.some((violation) => violation.includes(complaint));
  });
  return unseen.map((canary) => canary.breaks);
}

if (import.meta.main) {
  const report = checkLayers(loadSources(repositoryRoot, ['src']));
  const unseen = unseenCanaries();
  for (const violation of report.violations) console.error(violation);
  for (const canary of unseen) console.error(`the checker does not see a broken rule: ${canary}`);
  const blind = report.modules < modulesMin || report.imports < modulesMin;
  if (blind) console.error(`the checker sees only ${report.modules} modules and ${report.imports} imports`);
  console.log(
    `layers: ${report.modules} modules, ${report.imports} imports, ${report.violations.length} violations, ` +
      `${layerCanaries.length - unseen.length} of ${layerCanaries.length} canaries seen`,
  );
  process.exitCode = report.violations.length > 0 || unseen.length > 0 || blind ? 1 : 0;
}
