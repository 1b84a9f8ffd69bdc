import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { BrokerDatabase } from './broker-database.ts';
import { databaseConformance } from '../../../test/conformance/broker-database.ts';
import { openSqliteDatabase } from './sqlite-database.ts';

databaseConformance('SQLite', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-broker-'));
  const opened: BrokerDatabase[] = [];
  return {
    async open() {
      const database = await openSqliteDatabase({ file: path.join(folder, 'broker.db') });
      opened.push(database);
      return database;
    },
    async dispose() {
      for (const database of opened) await database.close();
      fs.rmSync(folder, { recursive: true });
    },
  };
});
