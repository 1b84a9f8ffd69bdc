/** The bound of a request's body holds over a real socket, however the body says how long it is. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { brokerRequestBytesMax } from '../../src/lib/broker-limits.ts';
import { startTestBroker } from '../support/test-broker.ts';
import type { TestBroker } from '../support/test-broker.ts';

const closes = 'connection: close';
const challenge = '{"tenant":"acme","technology":"tpm"}';

describe('a request body', () => {
  let broker: TestBroker;
  before(async () => {
    broker = await startTestBroker();
  });
  after(() => broker.close());

  /** Status and body of the answer to exactly these bytes; the connection ends with them. */
  const send = async (headers: readonly string[], body: string): Promise<{ status: number; text: string }> => {
    const socket = connect({ host: '127.0.0.1', port: broker.port, ca: broker.authority });
    await once(socket, 'secureConnect');
    let text = '';
    socket.setEncoding('latin1').on('data', (piece: string) => (text += piece));
    // A broker that has refused may close before it was sent everything.
    socket.on('error', () => undefined);
    const ended = new Promise((resolve) => socket.once('close', resolve));
    const lines = ['POST /v1/challenge HTTP/1.1', 'host: 127.0.0.1', ...headers, '', ''];
    socket.write(lines.join('\r\n'));
    socket.write(body);
    await ended;
    return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
  };
  const chunked = (body: string): string => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

  it('is read whole, whether announced or in chunks', async () => {
    const announced = await send([`content-length: ${challenge.length}`, closes], challenge);
    assert.equal(announced.status, 200, announced.text);
    const pieces = await send(['transfer-encoding: chunked', closes], chunked(challenge));
    assert.equal(pieces.status, 200, pieces.text);
  });

  it('ends where it was announced to end: what follows is another request', async () => {
    const next = 'GET /v1/health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n';
    const { text } = await send([`content-length: ${challenge.length}`, 'connection: keep-alive'], challenge + next);
    assert.equal(text.match(/HTTP\/1\.1 200/g)?.length, 2, text);
    assert.match(text, /"nonce"[^]*"alive"/);
  });

  it('that is announced to be too long is refused before it is sent', async () => {
    const { status, text } = await send([`content-length: ${brokerRequestBytesMax + 1}`, closes], '');
    assert.equal(status, 413, text);
    assert.match(text, /limit-exceeded/);
  });

  it('that comes in chunks is refused once it is too long', async () => {
    // Its end never comes: the answer cannot have waited for it.
    const unended = chunked(`${challenge}${' '.repeat(brokerRequestBytesMax)}`).replace(/0\r\n\r\n$/, '');
    const { status, text } = await send(['transfer-encoding: chunked', closes], unended);
    assert.equal(status, 413, text);
    assert.match(text, /limit-exceeded/);
  });

  it('with both is no request', async () => {
    const headers = [`content-length: ${challenge.length}`, 'transfer-encoding: chunked'];
    // The parser refuses it and resets the connection, which may be quicker than its answer.
    const { status, text } = await send(headers, chunked(challenge));
    assert.ok(status === 400 || status === 0, text);
  });
});
