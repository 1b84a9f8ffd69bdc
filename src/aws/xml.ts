/**
 * The little XML that S3 and STS answer with: elements without attributes that matter, one level of
 * lists. It is looked through, not parsed: nothing here nests, expands entities of its own, or grows
 * beyond the bounded text it is given.
 */

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The text of the first element of this name, or undefined. */
export function elementText(xml: string, name: string): string | undefined {
  return elementTexts(xml, name).next().value ?? undefined;
}

/** What lies in each element of this name, in order; still as XML. */
export function* elements(xml: string, name: string): Generator<string, undefined> {
  const start = `<${name}>`;
  const end = `</${name}>`;
  for (let position = 0; ;) {
    const from = xml.indexOf(start, position);
    if (from < 0) return;
    const to = xml.indexOf(end, from);
    if (to < 0) return;
    yield xml.substring(from + start.length, to);
    position = to + end.length;
  }
}

function* elementTexts(xml: string, name: string): Generator<string, undefined> {
  for (const inner of elements(xml, name)) yield unescapeXml(inner);
}

function unescapeXml(text: string): string {
  return text.replaceAll(/&(#x[0-9a-fA-F]{1,6}|#[0-9]{1,7}|[a-z]+);/g, (whole, name: string) => {
    if (!name.startsWith('#')) return entities[name] ?? whole;
    const code = name.startsWith('#x') ? Number.parseInt(name.substring(2), 16) : Number(name.substring(1));
    const isCharacter = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return isCharacter ? String.fromCodePoint(code) : whole;
  });
}
