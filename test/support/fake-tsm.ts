/**
 * The kernel's configfs-tsm in a temporary folder: real files under the real code, with what the kernel does beside it.
 * Making a folder fills it with attributes, a write of `inblob` counts the generation up and makes a report, removing a
 * folder takes its attributes along.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { nodeReportFiles } from '../../src/attester/report-files.ts';
import type { ReportFiles } from '../../src/attester/report-files.ts';

export interface FakeTsmOptions {
  readonly folder: string;
  readonly provider: string;
  readonly auxiliary?: Uint8Array;
  /** What the hardware says to a request. */
  readonly report: (request: Uint8Array) => Uint8Array;
  /** Runs after each request, as another process could. */
  readonly meanwhile?: (place: string) => void;
  readonly failing?: (path: string) => Error | undefined;
}

export function fakeTsm(options: FakeTsmOptions): { readonly files: ReportFiles; readonly left: () => string[] } {
  mkdirSync(options.folder, { recursive: true });
  const failing = (path: string): void => {
    const error = options.failing?.(path);
    if (error !== undefined) throw error;
  };
  const files: ReportFiles = {
    makeFolder: async (path) => {
      await nodeReportFiles.makeFolder(path);
      writeFileSync(`${path}/provider`, `${options.provider}\n`);
      writeFileSync(`${path}/generation`, '0\n');
      for (const name of ['inblob', 'outblob', 'auxblob']) writeFileSync(`${path}/${name}`, '');
    },
    removeFolder: async (path) => {
      for (const name of readdirSync(path)) rmSync(`${path}/${name}`);
      await nodeReportFiles.removeFolder(path);
    },
    read: async (path) => {
      failing(path);
      return nodeReportFiles.read(path);
    },
    write: async (path, bytes) => {
      failing(path);
      await nodeReportFiles.write(path, bytes);
      const place = path.replace(/\/inblob$/, '');
      bump(place);
      writeFileSync(`${place}/outblob`, options.report(Uint8Array.from(readFileSync(path))));
      writeFileSync(`${place}/auxblob`, options.auxiliary ?? new Uint8Array(0));
      options.meanwhile?.(place);
    },
  };
  return { files, left: () => readdirSync(options.folder) };
}

/** A write by anybody. */
export function bump(place: string): void {
  writeFileSync(`${place}/generation`, `${Number(readFileSync(`${place}/generation`, 'utf8')) + 1}\n`);
}
