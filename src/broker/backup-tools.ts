/** `caisson broker backup` and `caisson broker restore`: on the file of the database, beside a running broker or without one. */
import type { BackupReport, BackupTools } from '../admin/broker-tools.ts';
import { systemRandom } from '../crypto/random.ts';
import { systemClock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { toHex } from '../lib/hex.ts';
import { backupDatabase, restoreDatabase } from './backup/broker-backup.ts';
import type { BackupHeader } from './backup/backup-header.ts';
import { signHead as signHeadBy } from '../wire/release-log.ts';
import type { SignedHead } from '../wire/release-log.ts';
import type { BrokerLocalOptions } from './local-options.ts';
import { readLogKey } from './log-tools.ts';
import { openMasterKey } from './master-key.ts';
import { keysBelow } from './release/broker-keys.ts';
import type { BrokerKeys } from './release/broker-keys.ts';
import { masterKeyWrong, readRootKeys } from './release/root-key.ts';
import type { BrokerDatabase } from './state/broker-database.ts';
import { openSqliteDatabase } from './state/sqlite-database.ts';

export function openBackupTools({ environment }: BrokerLocalOptions): BackupTools {
  const keysOf = async (database: BrokerDatabase, masterKey: string): Promise<BrokerKeys> => {
    const { source } = await openMasterKey(masterKey, '', environment);
    const roots = await readRootKeys(database, source);
    if (roots === undefined) throw masterKeyWrong(source);
    return keysBelow(roots, systemRandom);
  };
  return {
    async backup(databaseFile, file, masterKey = ownMasterKey(databaseFile)) {
      if (!existsSync(databaseFile)) {
        throw new CaissonError('invalid', 'name-missing', `there is no database ${databaseFile}`, {
          remedy: 'Give the file broker.sqlite in the state folder of the broker.',
        });
      }
      const database = await openSqliteDatabase({ file: databaseFile });
      try {
        const time = systemClock.wall();
        if (masterKey === undefined) return reportOf(await backupDatabase(database, { file, time }));
        const { signing } = await keysOf(database, masterKey);
        const signHead = (size: number, root: Uint8Array): SignedHead => signHeadBy(signing, size, root, time);
        return reportOf(await backupDatabase(database, { file, time, signHead }));
      } finally {
        await database.close();
      }
    },

    async restore(backup, databaseFile, key, masterKey) {
      const signerOf =
        masterKey === undefined
          ? undefined
          : async (database: BrokerDatabase) => (await keysOf(database, masterKey)).signing.publicKey;
      const publicKey = await readLogKey(key);
      return reportOf(await restoreDatabase({ backup, file: databaseFile, publicKey, signerOf }));
    },
  };
}

/** The key file that a broker makes beside its database when no other master key is named. */
function ownMasterKey(databaseFile: string): string | undefined {
  const file = join(dirname(databaseFile), 'master.key');
  return existsSync(file) ? `file:${file}` : undefined;
}

function reportOf({ databaseBytes, digest, logSize, logRoot, time, head }: BackupHeader): BackupReport {
  return {
    databaseBytes,
    sha256: toHex(digest),
    logSize,
    logRoot: toHex(logRoot),
    time,
    isHeadSigned: head !== undefined,
  };
}
