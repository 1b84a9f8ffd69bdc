/** The NBD export against fio: random reads and writes whose content fio checks itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mebibyte, serveMemory } from '../support/nbd-fixture.ts';
import { requireTool, toolOutput } from '../support/tools.ts';

for (const { what, parameters, late } of [
  { what: '4 KiB at depth 32', parameters: ['--bs=4k', '--iodepth=32'], late: false },
  {
    what: 'mixed unaligned sizes at depth 16, late answers',
    parameters: ['--bsrange=512-128k', '--bs_unaligned=0', '--iodepth=16', '--fsync=32'],
    late: true,
  },
]) {
  test(`fio verifies what it wrote: ${what}`, async (t) => {
    if (!requireTool(t, 'fio')) return;
    const { path, folder, server } = await serveMemory(t, {
      size: 16 * mebibyte,
      ...(late ? { device: { asyncSeed: 11 } } : {}),
    });
    const job = [
      '--name=verify',
      '--ioengine=nbd',
      `--uri=nbd+unix:///disk?socket=${path}`,
      '--rw=randrw',
      '--size=16m',
      '--io_size=16m',
    ];
    const checks = [
      '--verify=crc32c',
      '--verify_fatal=1',
      '--verify_dump=0',
      '--do_verify=1',
      '--randseed=7',
      '--output-format=json',
    ];
    const printed = await toolOutput('fio', [...job, ...parameters, ...checks], {
      folder,
      timeoutMilliseconds: 60_000,
    });
    const report = JSON.parse(printed.substring(printed.indexOf('{')));
    assert.equal(report.jobs[0].error, 0);
    assert.ok(report.jobs[0].write.total_ios > 50);
    assert.ok(server.metrics.requests[1]! >= report.jobs[0].write.total_ios);
  });
}
