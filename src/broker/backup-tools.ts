/** `caisson broker backup` and `caisson broker restore`: on the file of the database, beside a running broker or without one. */
import type { BackupReport, BackupTools } from '../admin/broker-tools.ts';
import { systemClock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { existsSync } from 'node:fs';
import { toHex } from '../lib/hex.ts';
import { backupDatabase, restoreDatabase } from './backup/broker-backup.ts';
import type { BackupHeader } from './backup/backup-header.ts';
import { readLogKey } from './log-tools.ts';
import { openSqliteDatabase } from './state/sqlite-database.ts';

export const backupTools: BackupTools = {
  async backup(databaseFile, file) {
    if (!existsSync(databaseFile)) {
      throw new CaissonError('invalid', 'name-missing', `there is no database ${databaseFile}`, {
        remedy: 'Give the file broker.sqlite in the state folder of the broker.',
      });
    }
    const database = await openSqliteDatabase({ file: databaseFile });
    try {
      return reportOf(await backupDatabase(database, { file, time: systemClock.wall() }));
    } finally {
      await database.close();
    }
  },

  async restore(backup, databaseFile, key) {
    return reportOf(await restoreDatabase({ backup, file: databaseFile, publicKey: await readLogKey(key) }));
  },
};

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
