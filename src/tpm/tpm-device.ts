/**
 * How a TPM is named: the path of its device, or `swtpm:HOST:PORT` and `swtpm:/path/of/socket` for a simulator.
 * Without a name it is /dev/tpmrm0, which the kernel shares among programs.
 */
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import type { TpmTransport } from './tpm-transport.ts';

export const tpmDeviceDefault = '/dev/tpmrm0';
const simulatorScheme = 'swtpm:';

export type TpmDevice = {
  readonly text: string;
  /** The kernel keeps each program's keys and sessions apart. */
  readonly isShared: boolean;
  readonly isSimulator: boolean;
} & ({ readonly path: string } | { readonly host: string; readonly port: number });

/** `argument-invalid` for anything else. */
export function parseTpmDevice(text: string = tpmDeviceDefault): TpmDevice {
  if (/^\/[\x21-\x7e]+$/.test(text))
    return { text, path: text, isShared: /\/tpmrm\d+$/.test(text), isSimulator: false };
  if (text.startsWith(simulatorScheme)) {
    const place = text.slice(simulatorScheme.length);
    if (/^\/[\x21-\x7e]+$/.test(place)) return { text, path: place, isShared: false, isSimulator: true };
    const [, bracketed, host = bracketed, port] = /^(?:\[([0-9a-f:]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(place) ?? [];
    if (host !== undefined && Number(port) >= 1 && Number(port) <= 65_535)
      return { text, host, port: Number(port), isShared: false, isSimulator: true };
  }
  throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(text)} names no TPM`, {
    remedy: 'Give the path of a device such as /dev/tpmrm0, or swtpm:HOST:PORT.',
  });
}

export async function openTpmDevice(device: TpmDevice, clock: Clock): Promise<TpmTransport> {
  const { openDeviceTransport, openSocketTransport } = await import('./tpm-transport.ts');
  if (!device.isSimulator && 'path' in device) return openDeviceTransport(device.path, clock);
  return openSocketTransport(device, clock);
}
