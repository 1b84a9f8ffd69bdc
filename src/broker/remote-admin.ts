/** The admin API of a broker, for commands: of one elsewhere, or of the one that runs on this machine by default. */
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { BrokerAdmin, BrokerPlace } from '../admin/broker-tools.ts';
import { readAnswer } from '../broker-client/answers.ts';
import { HttpsRequests } from '../broker-client/https-requests.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { resolveFolders } from '../lib/folders.ts';
import { adminOperations, errorBody } from '../wire/broker-schema.ts';
import type { AdminOperationName } from '../wire/broker-schema.ts';
import type { BrokerLocalOptions } from './local-options.ts';
import { readPrivateFile } from './server/state-files.ts';

const localUrl = 'https://127.0.0.1:7443';

export async function openRemoteAdmin(place: BrokerPlace, options: BrokerLocalOptions): Promise<BrokerAdmin> {
  const folder = `${resolveFolders(options.environment, options.userId).state}/broker`;
  const isLocal = place.url === undefined;
  const authorityFile = place.authorityFile ?? (isLocal ? `${folder}/authority.crt` : undefined);
  const tokenFile = place.tokenFile ?? (isLocal ? `${folder}/admin.token` : undefined);
  const authority = authorityFile === undefined ? undefined : readPrivateFile(authorityFile);
  if (place.authorityFile !== undefined && authority === undefined) throw missing(place.authorityFile, '--ca-file');
  const requests = new HttpsRequests(place.url ?? localUrl, { authority, fingerprint: place.fingerprint });
  const headers = { authorization: `Bearer ${readToken(tokenFile)}` };
  const none = new Uint8Array(0);
  return {
    ask: async (name, request) => {
      if (!Object.hasOwn(adminOperations, name))
        throw new CaissonError('bug', 'assertion-failed', `there is no operation ${name} of administrators`);
      const body = new TextEncoder().encode(JSON.stringify(request));
      const response = await requests.ask('POST', `/v1/admin/${name}`, body, headers);
      readAnswer(adminOperations[name as AdminOperationName].answer, response, requests.url);
      return JSON.parse(new TextDecoder().decode(response.body)) as Readonly<Record<string, unknown>>;
    },
    downloadLog: async (file) => {
      const response = await requests.open('GET', '/v1/log', none, headers);
      if (response.statusCode !== 200) {
        const body = Buffer.concat(await Readable.from(response).toArray());
        readAnswer(errorBody, { status: response.statusCode ?? 0, headers: response.headers, body }, requests.url);
      }
      return saveLog(response, file);
    },
    close: () => requests.close(),
  };
}

/** What arrived is kept only when all of it has: half a log would look like one that was cut off. */
async function saveLog(response: Readable, file: string): Promise<{ entries: number; bytes: number }> {
  let bytes = 0;
  let lines = 0;
  const counting = new Transform({
    transform(piece: Buffer, _encoding, done) {
      bytes += piece.length;
      for (const byte of piece) if (byte === 0x0a) lines++;
      done(null, piece);
    },
  });
  const target = createWriteStream(file, { flags: 'wx', mode: 0o600 });
  try {
    await pipeline(response, counting, target);
  } catch (cause) {
    const isOurs = !(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST');
    if (isOurs) await rm(file, { force: true });
    throw new CaissonError(
      'io',
      isOurs ? 'broker-unreachable' : 'name-exists',
      `the log was not saved in ${file}: ${messageOf(cause)}`,
      {
        remedy: isOurs ? 'Download it again.' : 'Give the name of a new file.',
        details: { file },
        cause,
      },
    );
  }
  // The header and the signed head at its end are no entries.
  return { entries: lines - 2, bytes };
}

function readToken(file: string | undefined): string {
  const text = file === undefined ? undefined : readPrivateFile(file)?.trim();
  if (text !== undefined && /^[0-9a-f]{64}$/.test(text)) return text;
  if (file !== undefined && text === undefined) throw missing(file, '--token-file');
  throw new CaissonError(
    'denied',
    'admin-refused',
    file === undefined ? 'no token was given' : `${file} holds no token`,
    {
      remedy: 'Give the file with the 64 digits of an administrator with --token-file.',
    },
  );
}

function missing(file: string, option: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `there is no ${file}`, {
    remedy: `Give another file with ${option}.`,
    details: { file },
  });
}
