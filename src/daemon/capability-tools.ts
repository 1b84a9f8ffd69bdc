/**
 * Capabilities on the side of their holders: keys and tokens in files, and showing a token to a daemon.
 *
 * Invariants: a private key is written once, for its owner alone, and is never shown; a file of one kind is never
 * taken for another (a private key read as somebody's public key would be published in the token).
 */
import fs from 'node:fs';
import type { CapabilityRequest, CapabilityResponse } from '../admin/capability-socket.ts';
import type {
  CapabilityAnswer,
  CapabilityBounds,
  CapabilityTools,
  OpenedCapability,
  ServedCapability,
  Showing,
} from '../admin/capability-tools.ts';
import { sha256 } from '../crypto/digest.ts';
import { systemRandom } from '../crypto/random.ts';
import { seedBytes, signingKeyFromSeed } from '../crypto/signature.ts';
import type { SigningKey } from '../crypto/signature.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { capabilityFileBytesMax } from '../lib/limits.ts';
import { fileError } from '../store/file-errors.ts';
import { actStatement } from '../wire/capability-act.ts';
import type { CapabilityAct } from '../wire/capability-act.ts';
import {
  capabilityFromText,
  capabilityRights,
  capabilityToText,
  holderKeyBytes,
  snapshotIdBytes,
} from '../wire/capability-format.ts';
import { inspectCapability, narrowCapability, proveHolder } from '../wire/capability.ts';
import { isChallenge } from './capability-challenges.ts';
import { readSmallFile } from './small-files.ts';

const keyPrefix = 'csnkey1.';

export function createCapabilityTools(): CapabilityTools {
  return { generateKey, publicKey, inspect, save, narrow, open, serve, ...createTools() };
}

function generateKey(file: string): { path: string; publicKey: string } {
  const seed = systemRandom.bytes(seedBytes);
  writeNew(file, `${keyPrefix}${toHex(seed)}\n`, 0o600);
  const key = signingKeyFromSeed(seed);
  seed.fill(0);
  return { path: file, publicKey: toHex(key.publicKey) };
}

function publicKey(text: string): string {
  const found = text.startsWith('@') ? readText(text.substring(1)) : text;
  const bytes = fromHex(found, holderKeyBytes);
  if (bytes !== undefined) return toHex(bytes);
  throw new CaissonError('invalid', 'argument-invalid', 'the holder is not a public key of 64 hexadecimal digits', {
    remedy: 'Give what "caisson capability keygen" printed, or @FILE with a file that holds it.',
  });
}

function inspect(file: string): CapabilityAnswer {
  return answerOf(capabilityFromText(readText(file)));
}

function save(token: string, file: string): CapabilityAnswer {
  const answer = answerOf(capabilityFromText(token));
  writeNew(file, `${token}\n`, 0o600);
  return answer;
}

function narrow(
  file: string,
  holderKeyFile: string,
  newHolder: string,
  { rights, snapshot, ...bounds }: CapabilityBounds,
  to: string,
): CapabilityAnswer {
  const holder = fromHex(publicKey(newHolder), holderKeyBytes) ?? new Uint8Array();
  const wanted =
    rights === undefined ? {} : { rights: new Set(capabilityRights.filter((right) => rights.includes(right))) };
  const token = narrowCapability(capabilityFromText(readText(file)), holderKey(holderKeyFile), {
    ...bounds,
    ...wanted,
    ...snapshotIn(snapshot),
    holder,
  });
  return save(capabilityToText(token), to);
}

async function open(showing: Showing, snapshot?: string): Promise<OpenedCapability> {
  const opened = await (snapshot === undefined
    ? ask(showing, 'open', {})
    : ask(showing, 'open-snapshot', { snapshot }, snapshot));
  const nbdSocket = `${showing.socket}.nbd`;
  return { uri: `nbd+unix:///${opened.export}?socket=${encodeURI(nbdSocket)}`, socket: nbdSocket, ...opened };
}

async function serve(showing: Showing): Promise<ServedCapability> {
  const { usesTls, ...served } = await ask(showing, 'serve', {});
  return { uri: `${usesTls ? 'nbds' : 'nbd'}://${served.address}/${served.export}`, ...served };
}

function createTools(): Pick<CapabilityTools, 'snapshots' | 'createSnapshot' | 'removeSnapshot' | 'resize'> {
  return {
    snapshots: (showing) => ask(showing, 'snapshots', {}),
    createSnapshot: (showing, snapshot) => ask(showing, 'snapshot-create', { snapshot }, snapshot),
    removeSnapshot: (showing, snapshot) => ask(showing, 'snapshot-remove', { snapshot }, snapshot),
    resize: (showing, size) => ask(showing, 'resize', { size }, `${size}`),
  };
}

/** Shows a token and asks one thing; the proof is for that alone. */
async function ask<Name extends 'open' | CapabilityAct>(
  { file, holderKeyFile, socket }: Showing,
  name: Name,
  request: Omit<CapabilityRequest<Name>, 'token' | 'challenge' | 'signature'>,
  argument = '',
): Promise<CapabilityResponse<Name>> {
  const text = readText(file);
  const token = capabilityFromText(text);
  const key = holderKey(holderKeyFile);
  const { askForCapability } = await import('../admin/capability-socket.ts');
  const asked = (await askForCapability(socket, 'challenge', {})).challenge;
  const challenge = fromHex(asked, asked.length / 2);
  // Nothing else is signed for whoever listens there.
  if (challenge === undefined || !isChallenge(challenge))
    throw new CaissonError('io', 'daemon-refused', `what listens on ${socket} asked for a proof of another kind`);
  const signed = name === 'open' ? challenge : actStatement(name, argument, challenge);
  const { signature } = proveHolder(key, token, signed);
  const shown = { token: text, challenge: asked, signature: toHex(signature) };
  return askForCapability(socket, name, { ...shown, ...request } as unknown as CapabilityRequest<Name>);
}

function snapshotIn(text: string | undefined): { readonly snapshot?: Uint8Array } {
  const snapshot = text === undefined ? undefined : fromHex(text, snapshotIdBytes);
  return snapshot === undefined ? {} : { snapshot };
}

function answerOf(token: Uint8Array): CapabilityAnswer {
  const { volumeId, epoch, grants } = inspectCapability(token);
  return {
    id: toHex(sha256(token)),
    volumeId: toHex(volumeId),
    epoch,
    grants: grants.map((grant) => ({
      ...grant,
      length: grant.length ?? null,
      rights: [...grant.rights],
      holder: toHex(grant.holder),
      snapshot: grant.snapshot === undefined ? null : toHex(grant.snapshot),
    })),
  };
}

function holderKey(file: string): SigningKey {
  const text = readText(file);
  const seed = text.startsWith(keyPrefix) ? fromHex(text.substring(keyPrefix.length), seedBytes) : undefined;
  if (seed !== undefined) return signingKeyFromSeed(seed);
  throw new CaissonError('invalid', 'argument-invalid', `${file} does not hold a holder's key`, {
    remedy: 'Give the file that "caisson capability keygen" made.',
    details: { path: file },
  });
}

function readText(file: string): string {
  const text = readSmallFile(file, capabilityFileBytesMax);
  if (text !== undefined) return text.trim();
  throw new CaissonError('invalid', 'object-missing', `${file} does not exist`, { details: { path: file } });
}

function writeNew(file: string, text: string, mode: number): void {
  try {
    const descriptor = fs.openSync(file, 'wx', mode);
    try {
      fs.writeFileSync(descriptor, text);
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    throw fileError(error, 'create', file);
  }
}
