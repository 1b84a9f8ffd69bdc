/** `caisson volume ls`. */
import type { RunCommand } from '../command.ts';
import { table } from '../output.ts';

export const run: RunCommand = async (context) => {
  const { volumes } = await (await context.local()).operations.listVolumes({});
  const daemon = await context.daemon();
  const served = new Set(daemon === undefined ? [] : (await daemon.status({})).volumes.map(({ name }) => name));
  const listed = volumes.map((volume) => ({ ...volume, open: served.has(volume.name) }));
  context.output.result({ volumes: listed }, () => {
    if (listed.length === 0)
      return 'no volumes; create one with "caisson volume create NAME --size 10GiB --store dir:/some/folder"';
    const rows = listed.map(({ name, open, unfinished, protection, key, volumeId, root, store }) => [
      name,
      unfinished === true ? 'unfinished' : open ? 'open' : 'closed',
      protection === 'none' ? 'none (UNPROTECTED)' : protection === 'hashed' ? 'hashed' : key.kind,
      root ?? volumeId,
      store,
    ]);
    return table([['NAME', 'STATE', 'KEY', 'ID', 'STORE'], ...rows]);
  });
};
