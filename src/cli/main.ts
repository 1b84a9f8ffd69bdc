/** The entry of the caisson command. Everything is in run.ts; here is only what must come before it. */
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

// Run from its sources, Caisson has its types stripped at every start; the cache keeps the result. It
// lies beside the sources, so that whoever could change it could change them as well.
if (import.meta.url.endsWith('.ts'))
  enableCompileCache(fileURLToPath(new URL('../../.cache/compile', import.meta.url)));

const { main } = await import('./run.ts');
process.exitCode = await main(process.argv.slice(2), fileURLToPath(import.meta.url));
