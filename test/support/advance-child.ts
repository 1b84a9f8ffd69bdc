/**
 * A broker's database in a process that is killed: advances anchors as fast as it can and says on standard
 * output which advance was acknowledged. Arguments: `sqlite FILE` or `postgresql URL`, then the first volume.
 */
import { writeSync } from 'node:fs';
import { openPostgresDatabase } from '../../src/broker/state/postgres-database.ts';
import { openSqliteDatabase } from '../../src/broker/state/sqlite-database.ts';
import { stateAt } from '../conformance/anchor.ts';
import { advance, change } from '../conformance/broker-database.ts';

const writers = 8;
const [kind, place = '', firstVolume = '0'] = process.argv.slice(2);
const database =
  kind === 'sqlite' ? await openSqliteDatabase({ file: place }) : await openPostgresDatabase({ url: place });

async function advanceForEver(volume: number): Promise<void> {
  const own = { volumeId: new Uint8Array(16).fill(volume) };
  for (let sequence = 1; ; sequence++) {
    await database.commit(change(advance(stateAt(1, 1, sequence, own))));
    writeSync(1, `${volume} ${sequence}\n`);
  }
}

await Promise.all(Array.from({ length: writers }, (_, index) => advanceForEver(Number(firstVolume) + index)));
