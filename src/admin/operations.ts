/**
 * What can be asked of Caisson, wherever it runs: `daemon/operations.ts` carries it out, in the
 * daemon behind the admin socket or in the caller's own process; `client.ts` forwards it.
 */
import type { z } from 'zod';
import type { OperationName, operationSchemas } from './schema.ts';

export type OperationRequest<Name extends OperationName> = z.output<(typeof operationSchemas)[Name]['request']>;
export type OperationResponse<Name extends OperationName> = z.output<(typeof operationSchemas)[Name]['response']>;

export type OperationProgress = (done: number, total: number, unit: string) => void;

export type Operation<Name extends OperationName> = (
  request: OperationRequest<Name>,
  onProgress?: OperationProgress,
) => Promise<OperationResponse<Name>>;

/** Every operation as a method of the same name. */
export type Operations = { readonly [Name in OperationName]: Operation<Name> };
