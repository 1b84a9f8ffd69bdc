/** The verifiers, by technology: the one list that broker and policies look at. */
import type { Technology } from '../../wire/evidence.ts';
import type { Verifier } from './verifier.ts';

const all: readonly Verifier[] = [];

export const verifiers: ReadonlyMap<Technology, Verifier> = new Map(
  all.map((verifier) => [verifier.technology, verifier]),
);
