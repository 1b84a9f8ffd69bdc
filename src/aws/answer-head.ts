/**
 * The head of an answer in HTTP/1.1 (RFC 9112, sections 4 to 6), strictly: what is not exactly a success of known
 * length is refused here, and left to node:http. Bytes in, value out.
 */

export interface AnswerHead {
  readonly status: number;
  /** By name in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of the head itself, with the empty line that ends it. */
  readonly bytes: number;
  readonly contentLength: number;
  /** The server closes the connection after it. */
  readonly isLast: boolean;
}

/** Undefined: not an answer of status 200 or 206 whose length its head says once. */
export function parseAnswerHead(bytes: Uint8Array): AnswerHead | 'incomplete' | undefined {
  const end = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf('\r\n\r\n');
  if (end < 0) return 'incomplete';
  const [first = '', ...lines] = Buffer.from(bytes.buffer, bytes.byteOffset, end).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.1 (200|206)( |$)/.exec(first)?.[1]);
  if (Number.isNaN(status)) return undefined;
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of lines) {
    const [, name = '', value = ''] =
      /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/.exec(line) ?? [];
    const key = name.toLowerCase();
    if (key === '' || (key in headers && decisive.has(key))) return undefined;
    headers[key] = value.trimEnd();
  }
  const length = headers['content-length'];
  if (length === undefined || !/^\d{1,15}$/.test(length) || 'transfer-encoding' in headers) return undefined;
  const isLast = (headers['connection'] ?? '').toLowerCase() !== 'keep-alive' && 'connection' in headers;
  return { status, headers, bytes: end + 4, contentLength: Number(length), isLast };
}

/** These say what the body is: twice is never right. */
const decisive: ReadonlySet<string> = new Set(['content-length', 'content-range', 'transfer-encoding', 'connection']);
