/** Runs test/support/advance-child.ts, kills it in mid-advance and knows what it had been told is durable. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { BrokerDatabase } from '../../src/broker/state/broker-database.ts';
import { tenantName } from '../conformance/broker-database.ts';

const child = new URL('./advance-child.ts', import.meta.url).pathname;

/** Volume to the last sequence that was acknowledged before the kill. */
export async function advanceUntilKilled(
  kind: BrokerDatabase['kind'],
  place: string,
  firstVolume: number,
  advancesMin: number,
): Promise<Map<number, number>> {
  const process_ = spawn(process.execPath, [child, kind, place, String(firstVolume)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged = new Map<number, number>();
  let count = 0;
  let rest = '';
  process_.stdout.setEncoding('utf8');
  process_.stdout.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const [volume, sequence] = line.split(' ').map(Number);
      acknowledged.set(volume!, sequence!);
      if (++count === advancesMin) process_.kill('SIGKILL');
    }
  });
  const signal = await new Promise((resolve) => process_.once('close', (_, name) => resolve(name)));
  assert.equal(signal, 'SIGKILL', 'the child ran until it was killed');
  return acknowledged;
}

/** Nothing acknowledged is lost, and nothing is there that nobody asked for. */
export async function mustHold(database: BrokerDatabase, acknowledged: ReadonlyMap<number, number>): Promise<void> {
  assert.ok(acknowledged.size > 0);
  for (const [volume, sequence] of acknowledged) {
    const held = (await database.anchor(tenantName, new Uint8Array(16).fill(volume)))?.sequence ?? 0;
    assert.ok(held === sequence || held === sequence + 1, `volume ${volume}: ${held} held, ${sequence} acknowledged`);
  }
}
