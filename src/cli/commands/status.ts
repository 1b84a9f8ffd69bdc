/** `caisson status`. */
import type { DaemonStatus } from '../../admin/schema.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { table } from '../output.ts';
import { protectionNote } from '../protection.ts';
import { requireDaemon } from '../reach.ts';

export const run: RunCommand = async (context, _args, options) => {
  const daemon = await requireDaemon(context);
  if (options['metrics'] === true) {
    const { readMetrics } = await import('../../admin/client.ts');
    context.output.verbatim(await readMetrics((await context.local()).adminSocket));
    return;
  }
  const status = await daemon.status({});
  context.output.result(status, () => describe(status));
};

function describe(status: DaemonStatus): string {
  const head = `caisson ${status.version}, process ${status.pid}${status.background ? ' (background)' : ''}, up ${status.uptimeSeconds} s, ${formatBytes(status.residentBytes)}, sealer ${status.sealer}`;
  const tcp = status.tcp === null ? [] : [`listening on ${status.tcp}`];
  const stores = [...status.stores.map(describeStore), ...describeCache(status.readCache)];
  if (status.volumes.length === 0) return [head, ...tcp, 'no volume is open', ...stores].join('\n');
  const rows = status.volumes.map((volume) => [
    volume.name,
    formatBytes(volume.size),
    `${volume.latched === null ? (volume.readOnly ? 'read-only' : 'good') : `LATCHED: ${volume.latched}`}${protectionNote(volume.protection)}`,
    formatBytes(volume.bytesRead),
    formatBytes(volume.bytesWritten),
    volume.mountedOn ?? '-',
    volume.socket,
  ]);
  const volumes = table([['NAME', 'SIZE', 'STATE', 'READ', 'WRITTEN', 'MOUNTED ON', 'SOCKET'], ...rows]);
  return [head, ...tcp, volumes, ...stores].join('\n');
}

function describeStore({
  store,
  requests,
  throttled,
  failed,
  retries,
  ...bytes
}: DaemonStatus['stores'][number]): string {
  const bad = throttled + failed === 0 ? '' : ` (${throttled} throttled, ${failed} failed, ${retries} retries)`;
  const { sentBytes, receivedBytes } = bytes;
  return `${store}: ${requests} requests${bad}, ${formatBytes(sentBytes)} sent, ${formatBytes(receivedBytes)} received`;
}

function describeCache(cache: DaemonStatus['readCache']): string[] {
  if (cache === null) return [];
  const { hits, misses, evictions, heldBytes, bytesMax } = cache;
  return [
    `read cache: ${hits} hits, ${misses} misses, ${evictions} evictions, ${formatBytes(heldBytes)} of ${formatBytes(bytesMax)}`,
  ];
}
