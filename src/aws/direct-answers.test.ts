/** Large answers from servers that answer in every way, by a socket that writes exactly what a test says. */
import assert from 'node:assert/strict';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { parseAnswerHead } from './answer-head.ts';
import { DirectAnswers } from './direct-answers.ts';
import type { AnswerHead } from './answer-head.ts';

interface Server {
  readonly answers: DirectAnswers;
  /** Connections that came. */
  readonly connections: () => number;
}

/** `script` is called for each request with its number, and the socket on which it came. */
async function serverOf(t: TestContext, script: (index: number, socket: net.Socket) => void): Promise<Server> {
  let requests = 0;
  const sockets = new Set<net.Socket>();
  let connections = 0;
  const server = net.createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        text = text.substring(end + 4);
        script(requests++, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const endpoint = new URL(`http://127.0.0.1:${port}`);
  const answers = new DirectAnswers({ endpoint, authorities: undefined, idleMilliseconds: 60_000 });
  t.after(() => {
    answers.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { answers, connections: () => connections };
}

interface Got {
  readonly head: AnswerHead | undefined;
  readonly text: string;
}

async function get(answers: DirectAnswers, length: number, check: (head: AnswerHead) => void = () => {}): Promise<Got> {
  const target = new Uint8Array(length);
  let done = 0;
  const landing = { room: () => target.subarray(done), landed: (count: number) => void (done += count) };
  const head = await answers.get({ path: '/object', headers: { host: 'host' }, landing, check });
  return { head, text: Buffer.from(target.subarray(0, done)).toString('latin1') };
}

const ok = (body: string, more = ''): string =>
  `HTTP/1.1 206 Partial\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;

describe('direct answers', () => {
  it('lands answers one after the other on one connection, in whatever pieces they come', async (t) => {
    const { answers, connections } = await serverOf(t, (index, socket) => {
      const text = ok(`body ${index}`);
      for (const letter of index === 1 ? text : [text]) socket.write(letter);
    });
    for (let index = 0; index < 3; index++) assert.equal((await get(answers, 6)).text, `body ${index}`);
    assert.equal(connections(), 1);
  });

  it('leaves every other answer to the ordinary way, with nothing landed', async (t) => {
    const strange = [
      'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nab',
      'HTTP/1.1 200 OK\r\n\r\nab',
      'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab',
      'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nab',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc',
      'HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab',
      'HTTP/1.1 100 Continue\r\n\r\n',
      `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(4000)}`,
    ];
    const { answers } = await serverOf(t, (index, socket) => socket.write(strange[index]!));
    for (const text of strange) {
      const got = await get(answers, 2);
      assert.deepEqual([got.head, got.text], [undefined, ''], text.substring(0, 80));
    }
  });

  it('does not use a connection again that said more than it had announced, or that it was the last answer', async (t) => {
    const { answers, connections } = await serverOf(t, (index, socket) => {
      socket.write(index === 0 ? ok('first', 'Connection: close\r\n') : ok('again'));
    });
    assert.equal((await get(answers, 5)).text, 'first');
    assert.equal((await get(answers, 5)).text, 'again');
    assert.equal(connections(), 2);
  });

  it('says so when an answer breaks off, and keeps what had landed', async (t) => {
    const { answers } = await serverOf(t, (_, socket) => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab');
    });
    const target = new Uint8Array(9);
    let done = 0;
    const landing = { room: () => target.subarray(done), landed: (count: number) => void (done += count) };
    await assert.rejects(answers.get({ path: '/', headers: {}, landing, check: () => {} }), /closed/);
    assert.equal(done, 2);
  });

  it('has what was asked on a connection that had died at rest asked again', async (t) => {
    const { answers } = await serverOf(t, (index, socket) => {
      if (index === 0) socket.write(ok('ab'));
      else socket.destroy();
    });
    assert.equal((await get(answers, 2)).text, 'ab');
    assert.equal((await get(answers, 2)).head, undefined);
    await assert.rejects(get(answers, 2), /./); // a new connection that dies is a failure
  });

  it('fails with what the check says, and with nothing landed', async (t) => {
    const { answers } = await serverOf(t, (_, socket) => socket.write(ok('ab')));
    await assert.rejects(
      get(answers, 2, () => {
        throw new Error('another range');
      }),
      /another range/,
    );
  });

  it('refuses once closed, also what is under way', async (t) => {
    const { answers } = await serverOf(t, () => answers.close());
    await assert.rejects(get(answers, 2), /closed/);
  });

  it('sends no header that is none', async (t) => {
    const { answers, connections } = await serverOf(t, (_, socket) => socket.write(ok('ab')));
    const landing = { room: () => new Uint8Array(2), landed: () => {} };
    const headers = { token: 'a\r\nhost: elsewhere' };
    assert.equal(await answers.get({ path: '/', headers, landing, check: () => {} }), undefined);
    assert.equal(connections(), 0);
  });
});

describe('heads of answers', () => {
  const parse = (text: string): ReturnType<typeof parseAnswerHead> => parseAnswerHead(Buffer.from(text, 'latin1'));

  it('are read whole or not at all', () => {
    const text = 'HTTP/1.1 206 Partial Content\r\nContent-Length: 7\r\nContent-Range:bytes 1-7/9 \r\n\r\n';
    for (let length = 0; length < text.length; length++) assert.equal(parse(text.substring(0, length)), 'incomplete');
    const head = parse(`${text}body`);
    assert.ok(head !== undefined && head !== 'incomplete');
    const { headers, ...rest } = head;
    assert.deepEqual(rest, { status: 206, bytes: text.length, contentLength: 7, isLast: false });
    assert.equal(headers['content-range'], 'bytes 1-7/9');
  });
});
