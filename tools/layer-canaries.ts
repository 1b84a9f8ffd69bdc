/** Small source trees that each break one import rule. The checker has to see every one of them. */

export interface LayerCanary {
  readonly breaks: string;
  readonly files: Readonly<Record<string, string>>;
  /** A part of the complaint. */
  readonly complaint: string;
}

const store = { 'src/store/store.ts': 'export interface Store { readonly name: string }' };
const volume = { 'src/volume/volume.ts': 'export const volume = 1;' };

export const layerCanaries: readonly LayerCanary[] = [
  {
    breaks: 'lib stands on nothing',
    files: { ...store, 'src/lib/bad.ts': "import { x } from '../store/store.ts';\nexport const y = x;" },
    complaint: 'lib may import only itself',
  },
  {
    breaks: 'type-only imports count',
    files: { ...store, 'src/crypto/bad.ts': "import type { Store } from '../store/store.ts';\nexport type S = Store;" },
    complaint: 'crypto may import only',
  },
  {
    breaks: 'type re-exports count',
    files: { ...store, 'src/keys/bad.ts': "export type { Store } from '../store/store.ts';" },
    complaint: 'keys may import only',
  },
  {
    breaks: 'import() types count',
    files: { ...volume, 'src/export/nbd/bad.ts': "export type V = import('../../volume/volume.ts').Volume;" },
    complaint: 'export/nbd may import only',
  },
  {
    breaks: 'dynamic imports count',
    files: { ...volume, 'src/cli/bad.ts': "export const load = () => import('../volume/volume.ts');" },
    complaint: 'cli may import only',
  },
  {
    breaks: 'workers count',
    files: { ...volume, 'src/cli/bad.ts': "export const u = new URL('../volume/volume.ts', import.meta.url);" },
    complaint: 'cli may import only',
  },
  {
    breaks: 'workers of the built package count',
    files: {
      ...volume,
      'src/cli/bad.ts': 'export const u = (x: string) => new URL(`../volume/volume.${x}`, import.meta.url);',
    },
    complaint: 'cli may import only',
  },
  {
    breaks: 'formats are strangers',
    files: {
      'src/segment/segment.ts': 'export const s = 1;',
      'src/manifest/bad.ts': "export { s } from '../segment/segment.ts';",
    },
    complaint: 'manifest may import only',
  },
  {
    breaks: 'exports are strangers',
    files: {
      'src/export/nbd/wire.ts': 'export const s = 1;',
      'src/export/fuse/bad.ts': "export * from '../nbd/wire.ts';",
    },
    complaint: 'export/fuse may import only',
  },
  {
    breaks: 'only one file of the store is a contract',
    files: { 'src/store/dir.ts': 'export const d = 1;', 'src/spool/bad.ts': "export { d } from '../store/dir.ts';" },
    complaint: 'spool may import only',
  },
  {
    breaks: 'native calls live in sys',
    files: { 'src/crypto/bad.ts': "import * as ffi from 'node:ffi';\nexport const f = ffi;" },
    complaint: 'crypto may use only',
  },
  {
    breaks: 'the engine has no npm packages',
    files: { 'src/volume/bad.ts': "import { z } from 'zod';\nexport const s = z;" },
    complaint: 'volume may use only the packages (none)',
  },
  {
    breaks: 'the product never imports its tests',
    files: { 'src/lib/bad.ts': "export { t } from '../../test/helper.ts';" },
    complaint: 'the product never imports',
  },
  {
    breaks: 'a new folder needs a rule',
    files: { ...store, 'src/novel/bad.ts': "export type { Store } from '../store/store.ts';" },
    complaint: 'no import rule covers',
  },
  {
    breaks: 'a missing file is no module',
    files: { 'src/lib/bad.ts': "export { t } from './absent.ts';" },
    complaint: 'there is no file',
  },
  {
    breaks: 'no cycles, type-only ones included',
    files: {
      'src/lib/a.ts': "import type { B } from './b.ts';\nexport type A = B;",
      'src/lib/b.ts': "import type { A } from './a.ts';\nexport type B = A;",
    },
    complaint: 'cycle: src/lib/a.ts -> src/lib/b.ts -> src/lib/a.ts',
  },
];
