/**
 * What can be asked of Caisson, wherever it runs: `daemon/operations.ts` carries it out, in the
 * daemon behind the admin socket or in the caller's own process; `client.ts` forwards it.
 */
import type { z } from 'zod';
import type { CapabilityTools } from './capability-tools.ts';
import type { Credential, OperationName, operationSchemas, VolumeExport } from './schema.ts';

export type OperationRequest<Name extends OperationName> = z.output<(typeof operationSchemas)[Name]['request']>;
export type OperationResponse<Name extends OperationName> = z.output<(typeof operationSchemas)[Name]['response']>;

export type OperationProgress = (done: number, total: number, unit: string) => void;

export type Operation<Name extends OperationName> = (
  request: OperationRequest<Name>,
  onProgress?: OperationProgress,
  /** Those that take long and report progress stop when it is aborted, and leave nothing half-made. */
  signal?: AbortSignal,
) => Promise<OperationResponse<Name>>;

/** Every operation as a method of the same name. */
export type Operations = { readonly [Name in OperationName]: Operation<Name> };

/** What `caisson serve` was asked to do; it runs in the command's own process. */
export interface ServeRequest {
  /** Empty: what the configuration lists. */
  readonly volumes: readonly ServedVolume[];
  readonly tcp: TcpRequest | undefined;
  /** Where holders of capabilities show them. */
  readonly capabilitySocket: string | undefined;
  /** Started by `caisson mount`: may hold nothing at first, stops with the last volume it holds. */
  readonly background: boolean;
  /** Told once everything is served: an open descriptor that gets one line, then end of file. */
  readonly readyDescriptor: number | undefined;
  /** Called with what is served, before the descriptor is told. */
  readonly onReady: (ready: ServeReady) => void;
}

export interface ServedVolume {
  readonly name: string;
  readonly credential: Credential | undefined;
  readonly socket: string | undefined;
  readonly readOnly: boolean;
}

export interface TcpRequest {
  readonly listen: string;
  readonly tlsCertificate?: string;
  readonly tlsKey?: string;
  readonly tlsAuthority?: string;
  readonly pskFile?: string;
  readonly insecureNoTls: boolean;
}

export interface ServeReady {
  readonly pid: number;
  readonly adminSocket: string;
  readonly tcp: string | undefined;
  readonly volumes: readonly VolumeExport[];
}

/** What lies between two snapshots; the newest published state where `to` is absent. */
export interface DiffRequest {
  readonly name: string;
  readonly credential: Credential | undefined;
  readonly from: string;
  readonly to: string | undefined;
}

export interface ChangedExtent {
  readonly offset: number; // bytes
  readonly length: number; // bytes
  readonly kind: 'data' | 'zero' | 'hole';
}

/** Caisson in the caller's own process: what `cli/main.ts` hands to the commands. */
export interface LocalCaisson {
  readonly operations: Operations;
  readonly adminSocket: string;
  /** Tells the extents as they are found, ascending: there may be more than fit into one answer. */
  diffSnapshots(
    request: DiffRequest,
    onExtents: (extents: readonly ChangedExtent[]) => void,
    signal?: AbortSignal,
  ): Promise<void>;
  capabilities(): Promise<CapabilityTools>;
  /** Serves until it is told to stop. */
  serve(request: ServeRequest): Promise<void>;
  /** Starts a daemon that outlives the command, and resolves when it answers. */
  startBackground(): Promise<void>;
}
