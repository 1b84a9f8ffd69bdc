/**
 * `caisson completion SHELL`: a static script made from the table of commands. It completes words,
 * options and their fixed values by itself, and names of volumes by asking `caisson volume ls`.
 */
import { commandGroups } from '../command.ts';
import type { CommandSpec, RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [shell = '']) => {
  const tree = treeOf(context.commands);
  const scripts: Readonly<Record<string, () => string>> = {
    bash: () => bash(tree),
    zsh: () => zsh(tree),
    fish: () => fish(tree),
  };
  context.output.verbatim(scripts[shell]?.() ?? '');
};

interface Node {
  /** Empty for the top. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly summary: string }[];
  readonly flags: readonly {
    readonly name: string;
    readonly summary: string;
    readonly values: readonly string[] | undefined;
  }[];
  readonly takesName: boolean;
  readonly values: readonly string[];
}

/** A flag's values: undefined when it takes none, empty when it takes a path or free text. */
function treeOf(commands: readonly CommandSpec[]): Node[] {
  const visible = commands.map((command) => nodeOf(command));
  const groups = Object.keys(commandGroups).map((group) => ({
    ...emptyNode(group),
    words: commands
      .filter(({ path }) => path.startsWith(`${group} `))
      .map(({ path, summary }) => ({ word: path.slice(group.length + 1), summary })),
  }));
  const top = [
    ...Object.entries(commandGroups).map(([word, summary]) => ({ word, summary })),
    ...commands.filter(({ path }) => !path.includes(' ')).map(({ path, summary }) => ({ word: path, summary })),
  ];
  return [
    { ...emptyNode(''), words: top, flags: [{ name: '--version', summary: 'show the version', values: undefined }] },
    ...groups,
    ...visible,
  ];
}

function emptyNode(path: string): Node {
  return { path, words: [], flags: [], takesName: false, values: [] };
}

function nodeOf({ path, options, arguments: args }: CommandSpec): Node {
  const flags = options
    .filter(({ isHidden }) => isHidden !== true)
    .map(({ flags: form, description, choices }) => {
      const [name = '', value] = form.split(' ');
      return { name, summary: description, values: value === undefined ? undefined : (choices ?? []) };
    });
  const output = { name: '--output', summary: 'text or json', values: ['text', 'json'] };
  const takesName = args.some(({ form }) => /^[<[](name|names\.\.\.|target)[>\]]$/.test(form));
  return {
    path,
    words: [],
    flags: [...flags, output],
    takesName,
    values: args.flatMap(({ choices }) => choices ?? []),
  };
}

const listNames = `caisson volume ls -o json 2>/dev/null | tr ',' '\\n' | sed -n 's/.*"name":"\\([^"]*\\)".*/\\1/p'`;

function bash(tree: readonly Node[]): string {
  const cases = tree.flatMap(({ path, words, flags, takesName, values }) => {
    const offered = [...words.map(({ word }) => word), ...values, ...flags.map(({ name }) => name), '--help'].join(' ');
    return [`    '${path}') words='${offered}'${takesName ? '; names=1' : ''} ;;`];
  });
  const valueCases = uniqueValues(tree).map(
    ([name, values]) => `    ${name}) COMPREPLY=($(compgen -W '${values.join(' ')}' -- "$current")); return ;;`,
  );
  const fileFlags = flagNames(tree, (values) => values !== undefined && values.length === 0);
  return `# bash completion of caisson
_caisson() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' words='' names='' word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $word" in
${groupCases(tree)}
    esac
  done
  case $previous in
${valueCases.join('\n')}
    ${fileFlags.join('|')}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case $path in
${cases.join('\n')}
  esac
  if [[ -n $names && $current != -* ]]; then
    words="$words $(${listNames})"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ \${#COMPREPLY[@]} -eq 0 && $current != -* ]]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -F _caisson caisson
`;
}

/** How each further word leads from one place in the tree to the next. */
function groupCases(tree: readonly Node[]): string {
  return tree
    .filter(({ path }) => path !== '')
    .map(({ path }) =>
      path.includes(' ') ? `      '${path}') path='${path}' ;;` : `      ' ${path}') path='${path}' ;;`,
    )
    .join('\n');
}

function uniqueValues(tree: readonly Node[]): [string, readonly string[]][] {
  const found = new Map<string, readonly string[]>();
  for (const { flags } of tree)
    for (const { name, values } of flags) if (values !== undefined && values.length > 0) found.set(name, values);
  found.set('-o', ['text', 'json']);
  return [...found];
}

function flagNames(tree: readonly Node[], matches: (values: readonly string[] | undefined) => boolean): string[] {
  return [
    ...new Set(tree.flatMap(({ flags }) => flags.filter(({ values }) => matches(values)).map(({ name }) => name))),
  ];
}

function zsh(tree: readonly Node[]): string {
  const described = (word: string, summary: string): string => quote(`${word}:${summary}`);
  const cases = tree.map(({ path, words, flags, takesName, values }) => {
    const offered = [
      ...words.map(({ word, summary }) => described(word, summary)),
      ...values.map((value) => described(value, 'shell')),
      ...flags.map(({ name, summary }) => described(name, summary)),
    ];
    const names = takesName ? ` words+=(\${(f)"$(${listNames})"})` : '';
    return `    ${quote(path)}) words=(${offered.join(' ')});${names} ;;`;
  });
  const valueCases = uniqueValues(tree).map(
    ([name, values]) => `    ${name}) compadd -- ${values.join(' ')}; return ;;`,
  );
  const fileFlags = flagNames(tree, (values) => values !== undefined && values.length === 0);
  return `#compdef caisson
_caisson() {
  local place='' word previous=\${words[CURRENT-1]}
  local -a given=("\${(@)words[2,CURRENT-1]}") words
  for word in $given; do
    case "$place $word" in
${groupCases(tree).replaceAll("path='", "place='")}
    esac
  done
  case $previous in
${valueCases.join('\n')}
    ${fileFlags.join('|')}) _files; return ;;
  esac
  case $place in
${cases.join('\n')}
  esac
  _describe caisson words
  _files
}
compdef _caisson caisson
`;
}

function fish(tree: readonly Node[]): string {
  const lines = [
    '# fish completion of caisson',
    'complete -c caisson -f',
    `function __caisson_names; ${listNames}; end`,
  ];
  for (const { path, words, flags, takesName, values } of tree) {
    const condition = fishCondition(path, words);
    for (const { word, summary } of words)
      lines.push(`complete -c caisson -n ${quote(condition)} -a ${word} -d ${quote(summary)}`);
    if (values.length > 0) lines.push(`complete -c caisson -n ${quote(condition)} -a ${quote(values.join(' '))}`);
    if (takesName) lines.push(`complete -c caisson -n ${quote(condition)} -a '(__caisson_names)'`);
    for (const { name, summary, values: choices } of flags) {
      const argument =
        choices === undefined ? '' : choices.length === 0 ? ' -r -F' : ` -x -a ${quote(choices.join(' '))}`;
      lines.push(`complete -c caisson -n ${quote(condition)} -l ${name.slice(2)} -d ${quote(summary)}${argument}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function fishCondition(path: string, words: Node['words']): string {
  if (path === '') return '__fish_use_subcommand';
  const seen = path.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`);
  const beyond =
    words.length === 0 ? [] : [`not __fish_seen_subcommand_from ${words.map(({ word }) => word).join(' ')}`];
  return [...seen, ...beyond].join('; and ');
}

/** In single quotes, for each of the shells. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
