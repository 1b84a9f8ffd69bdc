/** What the parts of a run that are no server job get from it. */
import type { S3ServerName } from './options.ts';
import type { Figure } from './report.ts';

export interface PartContext {
  readonly ram: string;
  readonly disk: string;
  readonly full: boolean;
  readonly s3Server: S3ServerName;
  readonly rounds: number;
  readonly seconds: number;
  readonly volumeBytes: number;
  /** Whether the part of this name is asked for. */
  wants(id: string): boolean;
  add(figure: Figure): void;
  failed(part: string, error: unknown): void;
}

/** Runs a part where it is asked for; its failure is noted and does not end the run. */
export async function part(context: PartContext, id: string, work: () => Promise<void> | void): Promise<void> {
  if (!context.wants(id)) return;
  try {
    await work();
  } catch (error) {
    context.failed(id, error);
  }
}
