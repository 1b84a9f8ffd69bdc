/** "Did you mean": the known word that is nearest to a mistyped one. */
const wordCharactersMax = 64;

/** Such as `; did you mean "rules"?`, or an empty text where nothing is near. */
export function suggestion(word: string, known: Iterable<string>): string {
  let nearest: string | undefined;
  let distanceMin = Math.max(2, Math.floor(word.length / 4)) + 1;
  if (word.length > wordCharactersMax) return '';
  for (const candidate of known) {
    // Of two that are as near, people meant the one that begins alike.
    const distance = editDistance(word, candidate) - (word[0] === candidate[0] ? 0.5 : 0);
    if (distance >= distanceMin) continue;
    distanceMin = distance;
    nearest = candidate;
  }
  return nearest === undefined ? '' : `; did you mean "${nearest}"?`;
}

/** Insertions, removals and replacements between two words; a swap of neighbours counts two. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let line = 1; line <= from.length; line++) {
    const next = [line];
    for (let column = 1; column <= to.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (from[line - 1] === to[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
