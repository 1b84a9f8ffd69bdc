/** Against sysfs trees as kernels have them, laid out anew in a folder. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { describeDevice } from './device-report.ts';
import { blockDeviceFacts, factsOfNumber, opalOf } from '../sys/block-device-facts.ts';
import type { BlockDeviceFacts } from '../sys/block-device-facts.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-sysfs-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
let treeCount = 0;

/** Attributes by their path, and links by their path and target. */
function sysfs(attributes: Readonly<Record<string, string>>, links: Readonly<Record<string, string>>): string {
  const root = path.join(base, String(++treeCount));
  for (const [name, text] of Object.entries(attributes)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), `${text}\n`);
  }
  for (const [name, target] of Object.entries(links)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.symlinkSync(target, path.join(root, name));
  }
  return root;
}

function facts(root: string, number: string, status = -25): BlockDeviceFacts {
  const found = factsOfNumber(number, '/dev/x', { sysfs: root, opalStatus: () => status });
  assert.ok(found !== undefined);
  return found;
}

function said(found: BlockDeviceFacts): string[] {
  return describeDevice('/dev/x', found).map(({ result, message }) => `${result}: ${message}`);
}

const pcie = 'devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0';

describe('block device facts', () => {
  it('a local NVMe drive, self-encrypting and unlocked', () => {
    const root = sysfs(
      {
        [`${pcie}/transport`]: 'pcie',
        [`${pcie}/model`]: 'Samsung SSD 990 PRO 2TB                 ',
        [`${pcie}/nvme0n1/ro`]: '0',
        [`${pcie}/nvme0n1/queue/discard_max_bytes`]: '2199023255040',
      },
      {
        'dev/block/259:0': `../../${pcie}/nvme0n1`,
        [`${pcie}/nvme0n1/device`]: '..',
      },
    );
    const found = facts(root, '259:0', 0b0111);
    assert.equal(found.name, 'nvme0n1');
    assert.deepEqual(found.transport, { kind: 'pcie' });
    assert.deepEqual(found.opal, { kind: 'opal', isLockingEnabled: true, isLocked: false });
    assert.deepEqual(said(found), [
      'good: a local NVMe drive, Samsung SSD 990 PRO 2TB, trim',
      'good: yes (TCG Opal), locking is enabled, unlocked now',
    ]);
    assert.match(said(facts(root, '259:0', 0b1111))[1]!, /^broken: .*LOCKED/);
    assert.match(said(facts(root, '259:0', 0b0011))[1]!, /^good: .*locking is not enabled/);
    assert.match(said(facts(root, '259:0', -524))[1]!, /^good: no/);
  });

  it('a namespace over NVMe/TCP with two paths', () => {
    const subsystem = 'devices/virtual/nvme-subsystem/nvme-subsys1';
    const controller = 'devices/virtual/nvme-fabrics/ctl';
    const root = sysfs(
      {
        [`${controller}/nvme1/transport`]: 'tcp',
        [`${controller}/nvme1/address`]: 'traddr=10.0.0.1,trsvcid=4420,src_addr=10.0.0.9',
        [`${controller}/nvme2/transport`]: 'tcp',
        [`${controller}/nvme2/address`]: 'traddr=10.0.1.1,trsvcid=4420',
        [`${subsystem}/model`]: 'Linux',
        [`${subsystem}/nvme1n1/ro`]: '0',
        [`${subsystem}/nvme1n1/queue/discard_max_bytes`]: '0',
      },
      {
        'dev/block/259:5': `../../${subsystem}/nvme1n1`,
        [`${subsystem}/nvme1n1/device`]: '..',
        [`${subsystem}/nvme1`]: '../../nvme-fabrics/ctl/nvme1',
        [`${subsystem}/nvme2`]: '../../nvme-fabrics/ctl/nvme2',
      },
    );
    const [place, encryption] = said(facts(root, '259:5'));
    assert.match(
      place!,
      /^good: a namespace over NVMe\/tcp \(2 paths; traddr=10\.0\.0\.1.*traddr=10\.0\.1\.1.*no trim/,
    );
    assert.match(encryption!, /^good: unknown: .*cannot ask/);
  });

  it('a partition of an ATA disk, of which we may not ask', () => {
    const disk = 'devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0';
    const root = sysfs(
      {
        [`${disk}/model`]: 'ST4000NM0035',
        [`${disk}/block/sda/sda2/partition`]: '2',
        [`${disk}/block/sda/sda2/ro`]: '0',
        [`${disk}/block/sda/queue/discard_max_bytes`]: '0',
      },
      { 'dev/block/8:2': `../../${disk}/block/sda/sda2`, [`${disk}/block/sda/device`]: '../..' },
    );
    assert.deepEqual(said(facts(root, '8:2', -13)), [
      'good: a local ATA drive, a partition of sda, ST4000NM0035, no trim',
      'good: unknown: not permitted to ask, which takes CAP_SYS_ADMIN',
    ]);
  });

  it('a path of a multipathed LUN over Fibre Channel, and the multipath device', () => {
    const lun = 'devices/pci0000:80/0000:80:01.0/host7/rport-7:0-2/target7:0:0/7:0:0:1';
    const dm = 'devices/virtual/block/dm-3';
    const root = sysfs(
      {
        [`${lun}/block/sdc/ro`]: '0',
        'class/fc_host/host7/port_name': '0x21000024ff000001',
        [`${dm}/ro`]: '0',
        [`${dm}/dm/uuid`]: 'mpath-3600a098038304437415d4b6a59676d51',
        [`${dm}/dm/name`]: 'mpatha',
        [`${dm}/slaves/sdc/x`]: '',
        [`${dm}/slaves/sdd/x`]: '',
      },
      {
        'dev/block/8:32': `../../${lun}/block/sdc`,
        'dev/block/253:3': `../../${dm}`,
        [`${lun}/block/sdc/device`]: '../..',
        [`${lun}/block/sdc/holders/dm-3`]: `${'../'.repeat(10)}${dm}`,
      },
    );
    const path0 = describeDevice('/dev/sdc', facts(root, '8:32'))[0]!;
    assert.deepEqual([path0.result, /Fibre Channel/.test(path0.message)], ['warning', true]);
    assert.match(path0.remedy!, /block:\/dev\/mapper\/mpatha/);
    const [place, encryption] = said(facts(root, '253:3'));
    assert.match(place!, /^good: a device-mapper device \(mpath\) over sdc, sdd/);
    assert.match(encryption!, /unknown: .*ask for \/dev\/sdc, \/dev\/sdd/);
  });

  it('iSCSI, SAS, USB, virtio, loop, read-only, and what is none of them', () => {
    const at = (device: string, name: string, more: Record<string, string> = {}): BlockDeviceFacts => {
      const root = sysfs(
        { [`${device}/block/${name}/ro`]: '0', ...more },
        { 'dev/block/8:0': `../../${device}/block/${name}`, [`${device}/block/${name}/device`]: '../..' },
      );
      return facts(root, '8:0');
    };
    const scsi = 'devices/platform/host3/session1/target3:0:0/3:0:0:0';
    assert.deepEqual(at(scsi, 'sdb', { 'class/iscsi_host/host3/x': '' }).transport, { kind: 'iscsi' });
    assert.deepEqual(at(scsi, 'sdb', { 'class/sas_host/host3/x': '' }).transport, { kind: 'sas' });
    assert.equal(at(scsi, 'sdb').transport, undefined);
    assert.match(said(at(scsi, 'sdb'))[0]!, /the kernel does not tell.*trim unknown/);
    const usb = 'devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host5/target5:0:0/5:0:0:0';
    assert.deepEqual(at(usb, 'sde').transport, { kind: 'usb' });
    assert.deepEqual(at('devices/pci0000:00/0000:00:05.0/virtio2', 'vda').transport, { kind: 'virtio' });
    const loop = at('devices/virtual', 'loop0', { 'devices/virtual/block/loop0/loop/backing_file': '/srv/disk.img' });
    assert.deepEqual(loop.transport, { kind: 'loop', file: '/srv/disk.img' });
    const root = sysfs({ 'devices/x/sdz/ro': '1' }, { 'dev/block/8:0': '../../devices/x/sdz' });
    assert.match(said(facts(root, '8:0'))[0]!, /^broken: .*read-only/);
  });

  it('knows nothing of files and of devices that sysfs does not have', () => {
    assert.equal(blockDeviceFacts(path.join(base, 'nothing')), undefined);
    assert.equal(blockDeviceFacts(base), undefined);
    assert.equal(factsOfNumber('8:0', '/dev/x', { sysfs: base, opalStatus: () => 0 }), undefined);
    assert.match(describeDevice('/srv/disk.img', undefined)[0]!.message, /nothing is known/);
  });

  it('takes every answer of a drive for what it is', () => {
    assert.deepEqual(opalOf(0), { kind: 'none' });
    assert.deepEqual(opalOf(1), { kind: 'opal', isLockingEnabled: false, isLocked: false });
    assert.deepEqual(opalOf(0b1011), { kind: 'opal', isLockingEnabled: false, isLocked: false });
    assert.equal(opalOf(-5).kind, 'unknown');
  });
});
