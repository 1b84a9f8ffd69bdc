/** What `caisson doctor` says about the device below a block store. Where the kernel does not tell, it says unknown. */
import type { BlockDeviceFacts, OpalState } from '../sys/block-device-facts.ts';

export interface DeviceCheck {
  readonly name: string;
  readonly result: 'good' | 'warning' | 'broken';
  readonly message: string;
  readonly remedy: string | null;
}

/** `facts` undefined: it is a file, or sysfs does not know the device. */
export function describeDevice(device: string, facts: BlockDeviceFacts | undefined): DeviceCheck[] {
  if (facts === undefined) {
    const message = 'a file, or a device that sysfs does not know: nothing is known of what lies below';
    return [check(`device ${device}`, 'good', message)];
  }
  return [describePlace(device, facts), describeEncryption(device, facts)];
}

function describePlace(device: string, facts: BlockDeviceFacts): DeviceCheck {
  const name = `device ${device}`;
  const parts = [
    describeTransport(facts.transport),
    ...(facts.isPartition ? [`a partition of ${facts.name}`] : []),
    ...(facts.model === undefined ? [] : [facts.model]),
    describeDiscard(facts.discardBytesMax),
  ];
  const message = parts.join(', ');
  if (facts.multipathAbove !== undefined) {
    const remedy = `Use block:${facts.multipathAbove}, which goes on when a path fails.`;
    return check(name, 'warning', `${message}; one path of ${facts.multipathAbove}`, remedy);
  }
  if (facts.isReadOnly)
    return check(name, 'broken', `${message}; read-only`, 'Make it writable, or use another device.');
  return check(name, 'good', message);
}

function describeTransport(transport: BlockDeviceFacts['transport']): string {
  switch (transport?.kind) {
    case undefined:
      return 'reached in a way that the kernel does not tell';
    case 'pcie':
      return 'a local NVMe drive';
    case 'ata':
      return 'a local ATA drive';
    case 'sas':
      return 'a SAS drive or LUN';
    case 'usb':
      return 'a USB drive';
    case 'virtio':
      return 'a virtual disk (virtio)';
    case 'fibre-channel':
      return 'a LUN over Fibre Channel';
    case 'iscsi':
      return 'a LUN over iSCSI';
    case 'nvme-of': {
      const paths = transport.addresses.length > 1 ? `${transport.addresses.length} paths` : '1 path';
      return `a namespace over NVMe/${transport.fabric} (${[paths, ...transport.addresses].join('; ')})`;
    }
    case 'device-mapper':
      return `a device-mapper device (${transport.target}) over ${transport.below.join(', ') || 'nothing'}`;
    case 'loop':
      return `a loop device over ${transport.file}`;
  }
}

function describeDiscard(bytesMax: number | undefined): string {
  if (bytesMax === undefined) return 'trim unknown';
  return bytesMax === 0 ? 'no trim' : 'trim';
}

/** Caisson seals what it writes in any case: a drive's own encryption comes on top. */
function describeEncryption(device: string, { opal, transport }: BlockDeviceFacts): DeviceCheck {
  const name = `self-encryption ${device}`;
  // The answer would be that of the layer, not of the drives below.
  const isLayer = transport?.kind === 'device-mapper' || transport?.kind === 'loop';
  if (isLayer && opal.kind !== 'opal') {
    const below = transport.kind === 'device-mapper' ? transport.below.map((disk) => `/dev/${disk}`).join(', ') : '';
    const hint = below === '' ? '' : `; ask for ${below}`;
    return check(name, 'good', `unknown: this is a layer over other devices${hint}`);
  }
  return { name, ...encryptionOf(opal) };
}

function encryptionOf(opal: OpalState): Omit<DeviceCheck, 'name'> {
  switch (opal.kind) {
    case 'none':
      return { result: 'good', message: 'no: the drive is not a TCG Opal drive', remedy: null };
    case 'unknown':
      return { result: 'good', message: `unknown: ${opal.reason}`, remedy: null };
    case 'opal':
      if (opal.isLocked) {
        const remedy =
          'Unlock it with the tool that manages it, such as sedutil-cli or cryptsetup, then open the store.';
        return { result: 'broken', message: 'yes (TCG Opal), and LOCKED: it cannot be read or written', remedy };
      }
      if (opal.isLockingEnabled)
        return { result: 'good', message: 'yes (TCG Opal), locking is enabled, unlocked now', remedy: null };
      return {
        result: 'good',
        message:
          'yes (TCG Opal), but locking is not enabled: whoever has the drive can read what is on it, which is sealed',
        remedy: null,
      };
  }
}

function check(
  name: string,
  result: DeviceCheck['result'],
  message: string,
  remedy: string | null = null,
): DeviceCheck {
  return { name, result, message, remedy };
}
