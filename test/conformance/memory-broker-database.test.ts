/** The database in memory of other tests follows the rules of the real ones that rotations and revocations stand on. */
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { settingConformance } from './broker-database.ts';

settingConformance('memory', async () => {
  const database = new MemoryBrokerDatabase();
  return { open: async () => database, dispose: () => database.close() };
});
