/**
 * What a command does with capabilities without asking the daemon's administrator: keys, tokens in files, and
 * showing a token to a daemon. `daemon/capability-tools.ts` carries it out.
 */

/** What is left out stays as it is. Offsets are those of the volume; times are milliseconds since 1970. */
export interface CapabilityBounds {
  readonly base?: number;
  readonly length?: number;
  readonly rights?: readonly string[];
  readonly notBefore?: number;
  readonly expiresAt?: number;
  /** The id of a snapshot: 32 hex digits. */
  readonly snapshot?: string;
}

export interface CapabilityGrantAnswer {
  readonly base: number; // bytes
  readonly length: number | null; // bytes; null: to the end of the volume
  readonly rights: readonly string[];
  readonly notBefore: number;
  readonly expiresAt: number;
  readonly holder: string; // 64 hex digits
  readonly snapshot: string | null; // its id; null: the volume itself
}

export interface CapabilityAnswer {
  readonly id: string; // 64 hex digits
  readonly volumeId: string;
  readonly epoch: number;
  /** By the volume first; the last one is what the token grants. */
  readonly grants: readonly CapabilityGrantAnswer[];
}

export interface OpenedCapability {
  readonly uri: string;
  readonly export: string;
  readonly socket: string;
  readonly size: number; // bytes
  readonly rights: readonly string[];
  readonly expiresAt: number;
}

/** As `OpenedCapability`, to other machines. */
export interface ServedCapability extends Omit<OpenedCapability, 'socket'> {
  readonly address: string;
}

export interface CapabilitySnapshot {
  readonly id: string;
  readonly name: string;
  readonly time: number;
  readonly manifestNumber: number;
}

/** What is shown, by whom, and where. */
export interface Showing {
  readonly file: string;
  readonly holderKeyFile: string;
  readonly socket: string;
}

export interface CapabilityTools {
  generateKey(file: string): { readonly path: string; readonly publicKey: string };
  /** The public key that `text` is, or that the file after an `@` holds; 64 hex digits. */
  publicKey(text: string): string;
  inspect(file: string): CapabilityAnswer;
  /** A token in a new file. */
  save(token: string, file: string): CapabilityAnswer;
  narrow(
    file: string,
    holderKeyFile: string,
    newHolder: string,
    bounds: CapabilityBounds,
    to: string,
  ): CapabilityAnswer;
  /** Of a snapshot where its name or id is given. */
  open(showing: Showing, snapshot?: string): Promise<OpenedCapability>;
  serve(showing: Showing): Promise<ServedCapability>;
  snapshots(showing: Showing): Promise<{ readonly snapshots: readonly CapabilitySnapshot[] }>;
  createSnapshot(showing: Showing, snapshot: string): Promise<CapabilitySnapshot & { readonly frozen: boolean }>;
  removeSnapshot(showing: Showing, snapshot: string): Promise<CapabilitySnapshot>;
  /** `size` of the part, which ends where the volume does. */
  resize(showing: Showing, size: number): Promise<{ readonly size: number }>;
}
