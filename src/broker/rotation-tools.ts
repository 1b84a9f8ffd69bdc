/** `caisson broker key-rotate`: on the database itself, beside running brokers, which end and have to be started with the new key. */
import type { RotationTools } from '../admin/broker-tools.ts';
import { systemRandom } from '../crypto/random.ts';
import { patientClock } from '../lib/clock.ts';
import { resolveFolders } from '../lib/folders.ts';
import { loadBrokerConfiguration } from './configuration.ts';
import type { BrokerLocalOptions } from './local-options.ts';
import { openDatabase } from './main.ts';
import { openMasterKey } from './master-key.ts';
import { openHeadAnchor } from './outside.ts';
import { keysBelow } from './release/broker-keys.ts';
import { masterKeyWrong, readRootKeys } from './release/root-key.ts';
import { rotateRootKey } from './release/root-rotation.ts';

export function openRotationTools({ environment, userId }: BrokerLocalOptions): RotationTools {
  return {
    async rotate({ configurationFile, stateFolder, masterKey }) {
      const configuration = loadBrokerConfiguration(configurationFile);
      const state = stateFolder ?? configuration.state ?? `${resolveFolders(environment, userId).state}/broker`;
      const { source: from } = await openMasterKey(configuration.masterKey, state, environment);
      const { source: to } = await openMasterKey(masterKey ?? configuration.masterKey, state, environment);
      const raw = await openDatabase(configuration, state);
      try {
        const held = await readRootKeys(raw, from);
        if (held === undefined) throw masterKeyWrong(from);
        // A database that was put back is refused here, too, before anything is written into it.
        const database = await openHeadAnchor(raw, configuration, keysBelow(held, systemRandom).signing, false);
        const now = (): number => patientClock.wall();
        const report = await rotateRootKey({ database, from, to, random: systemRandom, now });
        await database.close();
        return report;
      } finally {
        await raw.close();
      }
    },
  };
}
