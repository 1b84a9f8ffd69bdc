/** Short runs of the engine's targets, so that the targets themselves stay alive. */
import { test } from 'node:test';
import { fuzz as catalog } from './catalog.fuzz.ts';
import { fuzz as head } from './head.fuzz.ts';
import { fuzz as manifest } from './manifest.fuzz.ts';
import { fuzz as map } from './map.fuzz.ts';
import { fuzz as segment } from './segment.fuzz.ts';
import { fuzz as spool } from './spool.fuzz.ts';

for (const [name, fuzz] of Object.entries({ catalog, head, manifest, map, segment, spool })) {
  test(`changed ${name}: refused by name or as it was`, async () => {
    await fuzz(11, 300);
  });
}
