/**
 * The life of a broker: read the configuration, open or make the state, listen, stop on SIGTERM or SIGINT.
 * The one place that names the concrete classes.
 *
 * Order of a stop: no new connection, requests in flight finished within a bound, the database closed, exit code 0.
 */
import fs from 'node:fs';
import type { BrokerReady, BrokerRunRequest } from '../admin/broker-tools.ts';
import { systemRandom } from '../crypto/random.ts';
import { CaissonError } from '../lib/errors.ts';
import { rotationWatchMilliseconds } from '../lib/broker-limits.ts';
import { patientClock } from '../lib/clock.ts';
import { resolveFolders } from '../lib/folders.ts';
import { toHex } from '../lib/hex.ts';
import { createBroker } from './broker.ts';
import { loadBrokerConfiguration } from './configuration.ts';
import type { BrokerConfiguration } from './configuration.ts';
import type { BrokerLocalOptions } from './local-options.ts';
import { openMasterKey } from './master-key.ts';
import { openCollateral, openHeadAnchor, readExtraRoots } from './outside.ts';
import { openBrokerKeys } from './release/broker-keys.ts';
import type { BrokerKeys, TokenKeeper } from './release/broker-keys.ts';
import { listenHttps } from './server/listen.ts';
import type { Listener, TlsMaterial } from './server/listen.ts';
import { createBrokerLog, logAnswer } from './server/log.ts';
import { certificateNames, openOwnAuthority, renewMilliseconds } from './server/own-authority.ts';
import { makePrivateFolder, readPrivateFile, writePrivateFile } from './server/state-files.ts';
import type { BrokerDatabase } from './state/broker-database.ts';

export async function runBroker(options: BrokerLocalOptions, request: BrokerRunRequest): Promise<void> {
  const configuration = loadBrokerConfiguration(request.configurationFile);
  const log = createBrokerLog(configuration.logLevel);
  const stateFolder =
    request.stateFolder ?? configuration.state ?? `${resolveFolders(options.environment, options.userId).state}/broker`;
  const { host, port } = addressOf(request.listen ?? configuration.listen);
  makePrivateFolder(stateFolder);
  const adminToken = `${stateFolder}/admin.token`;
  const stopping = Promise.withResolvers<string>();
  const stopWatching = watchSignals(stopping.resolve);
  const raw = await openDatabase(configuration, stateFolder);
  try {
    const { source, warning } = await openMasterKey(configuration.masterKey, stateFolder, options.environment);
    const { keys, first } = await openBrokerKeys(raw, source, systemRandom, patientClock.wall(), tokenFile(adminToken));
    const database = await openHeadAnchor(raw, configuration, keys.signing, request.acceptsRollback);
    const [{ verifiers }, collateral, peers] = await Promise.all([
      import('./attest/verifiers.ts'),
      openCollateral(configuration, stateFolder),
      openPeers(configuration, stateFolder),
    ]);
    const broker = createBroker({
      ...{ version: options.version, database, keys, verifiers, collateral, peers },
      extraRoots: readExtraRoots(configuration),
      ...{ clock: patientClock, random: systemRandom },
      addressLimit: configuration.limits.address,
      tenantLimit: configuration.limits.tenant,
      onAnswer: (answer) => logAnswer(log, answer),
    });
    const tls = openTls(configuration, stateFolder, host);
    const listener = await listenHttps(broker.app, { host, port, tls: tls.issue() });
    const renewal = setInterval(() => listener.renew(tls.issue()), renewMilliseconds).unref();
    const watching = watchRotation(database, keys, stopping.resolve);
    const adminTokenFile = first === undefined ? undefined : adminToken;
    const warnings = warning === undefined ? [] : [warning];
    for (const text of warnings) log.warn(text);
    announce(request, {
      url: `https://${host.includes(':') ? `[${host}]` : host}:${listener.port}`,
      ...{ authorityFingerprint: tls.fingerprint, authorityFile: tls.file },
      ...{ adminTokenFile, warnings, brokerId: toHex(keys.brokerId) },
    });
    log.info({ host, port: listener.port, database: database.kind, broker: toHex(keys.brokerId) }, 'serving');
    const signal = await stopping.promise;
    log.info({ signal }, 'stopping');
    clearInterval(renewal);
    clearInterval(watching);
    await closeAll(listener, database);
    log.info('stopped');
    if (signal === rotated) throw rootRotated();
  } finally {
    await raw.close();
    stopWatching();
  }
}

const rotated = 'root-rotated';

/** What this process wrapped would be lost, so it refuses to from then on; whoever watches it starts it anew. */
function watchRotation(database: BrokerDatabase, keys: BrokerKeys, stop: (why: string) => void): NodeJS.Timeout {
  const look = async (): Promise<void> => {
    if (!(await keys.areNewest(database))) stop(rotated);
  };
  // A database that does not answer is told by every request.
  return setInterval(() => void look().catch(() => undefined), rotationWatchMilliseconds).unref();
}

function rootRotated(): CaissonError {
  return new CaissonError('transient', 'object-changed', 'the root key of this broker was rotated while it ran', {
    remedy: 'Name the new master key in masterKey, then start the broker again.',
  });
}

function tokenFile(path: string): TokenKeeper {
  return {
    keep: (token) => writePrivateFile(path, `${token}\n`, 0o600),
    drop: () => fs.rmSync(path, { force: true }),
  };
}

async function closeAll(listener: Listener, database: BrokerDatabase): Promise<void> {
  await listener.close();
  await database.close();
}

export async function openDatabase({ database }: BrokerConfiguration, stateFolder: string): Promise<BrokerDatabase> {
  if (database?.startsWith('postgres') === true) {
    const { openPostgresDatabase } = await import('./state/postgres-database.ts');
    return openPostgresDatabase({ url: database });
  }
  const { openSqliteDatabase } = await import('./state/sqlite-database.ts');
  return openSqliteDatabase({ file: database ?? `${stateFolder}/broker.sqlite` });
}

async function openPeers({ peers }: BrokerConfiguration, stateFolder: string) {
  if (peers.length === 0) return undefined;
  const { PeerHeads } = await import('./heads/peer-heads.ts');
  const folder = `${stateFolder}/peers`;
  makePrivateFolder(folder);
  return new PeerHeads(folder, peers);
}

interface Tls {
  readonly fingerprint: string | undefined;
  readonly file: string | undefined;
  /** The certificate to show from now on. */
  issue(): TlsMaterial;
}

function openTls({ tls, names }: BrokerConfiguration, stateFolder: string, host: string): Tls {
  if (tls === undefined) {
    const authority = openOwnAuthority(stateFolder, systemRandom, patientClock.wall());
    const issue = (): TlsMaterial => authority.issue(certificateNames(host, names), patientClock.wall());
    return { fingerprint: authority.fingerprint, file: authority.file, issue };
  }
  const read = (path: string): string => {
    const text = readPrivateFile(path);
    if (text !== undefined) return text;
    throw new CaissonError('invalid', 'configuration-invalid', `there is no ${path}`, { details: { path } });
  };
  const issue = (): TlsMaterial => ({ certificate: read(tls.certificate), key: read(tls.key) });
  return { fingerprint: undefined, file: undefined, issue };
}

function addressOf(text: string): { readonly host: string; readonly port: number } {
  const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const plain = host.replace(/^\[(.*)\]$/, '$1');
  if (plain !== '' && Number(port) <= 65_535) return { host: plain, port: Number(port) };
  throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(text.substring(0, 100))} is not HOST:PORT`, {
    remedy: 'Give an address such as 127.0.0.1:7443 or [::1]:7443.',
  });
}

/** A second signal ends the process at once; what was answered is durable even then. */
function watchSignals(stop: (signal: string) => void): () => void {
  const watch = (signal: NodeJS.Signals): void => {
    stop(signal);
    unwatch();
  };
  const unwatch = (): void => void process.off('SIGTERM', watch).off('SIGINT', watch);
  process.on('SIGTERM', watch).on('SIGINT', watch);
  return unwatch;
}

function announce(request: BrokerRunRequest, ready: BrokerReady): void {
  request.onReady(ready);
  if (request.readyDescriptor === undefined) return;
  try {
    fs.writeSync(request.readyDescriptor, 'ready\n');
    fs.closeSync(request.readyDescriptor);
  } catch (cause) {
    throw new CaissonError('invalid', 'argument-invalid', `descriptor ${request.readyDescriptor} cannot be written`, {
      remedy: 'Give --ready-fd an open descriptor.',
      cause,
    });
  }
}
