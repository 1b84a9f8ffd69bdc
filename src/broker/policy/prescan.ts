/**
 * A look at the pieces of a text before it is parsed: what is not allowed anyway ends here, at its first
 * piece, so that no text can keep the parser, whose work grows with depth and with errors, busy.
 */
import { CST, Lexer } from 'yaml';
import { policyDepthMax, policyScalarBytesMax } from '../../lib/limits.ts';

export interface TextBounds {
  readonly bytesMax: number;
  /** Scalars, indicators, separators and line ends. */
  readonly piecesMax: number;
}

export interface Objection {
  readonly offset: number;
  readonly message: string;
}

const notAllowed: Readonly<Record<string, string>> = {
  alias: 'aliases are not allowed: write the value again',
  anchor: 'anchors are not allowed',
  tag: 'tags are not allowed',
  'directive-line': 'directives are not allowed',
};
/** The lexer's own marks, which stand for no character of the text. */
const marks = new Set(['doc-mode', 'flow-error-end', 'scalar']);
const tooDeep = `nested deeper than ${policyDepthMax} levels`;

/** The first thing that must not be there; undefined where the text may be parsed. */
export function prescan(text: string, { piecesMax }: TextBounds): Objection | undefined {
  let offset = 0;
  let pieces = 0;
  let depth = 0;
  let depthOfLine = 0;
  let isContent = false;
  for (const piece of new Lexer().lex(text)) {
    const kind = CST.tokenType(piece) ?? '';
    if (piece.length === 1 && marks.has(kind) && text[offset] !== piece) {
      isContent = kind === 'scalar';
      continue;
    }
    // What follows the mark of a scalar is its text, whatever it begins with.
    const type = isContent ? '' : kind;
    isContent = false;
    const message = notAllowed[type];
    if (message !== undefined) return { offset, message };
    if (type === 'flow-map-start' || type === 'flow-seq-start') depth += 1;
    if (type === 'flow-map-end' || type === 'flow-seq-end') depth -= 1;
    if (type === 'newline') depthOfLine = 0;
    if (type === 'seq-item-ind' || type === 'explicit-key-ind') depthOfLine += 1;
    if (depth > policyDepthMax || depthOfLine > policyDepthMax) return { offset, message: tooDeep };
    if (piece.length > policyScalarBytesMax)
      return { offset, message: `a text of ${piece.length} characters, at most ${policyScalarBytesMax}` };
    if (type !== 'space') pieces += 1;
    if (pieces > piecesMax) return { offset, message: `more than ${piecesMax} values, indicators and lines` };
    offset += piece.length;
  }
  return undefined;
}
