/** Caisson as npm installs it, emitted JavaScript, where `npm run build` was run after the last change of the sources. */
import fs from 'node:fs';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..');

export const packagedEntry = path.join(root, 'dist', 'src', 'cli', 'main.js');

export function isPackaged(): boolean {
  return fs.existsSync(packagedEntry) && !isStale();
}

/** The command of a package that is laid out in `folder`; the launcher prefers sources, which are not there. */
export function packagedCommand(folder: string): string {
  fs.cpSync(path.join(root, 'bin'), path.join(folder, 'bin'), { recursive: true });
  fs.copyFileSync(path.join(root, 'package.json'), path.join(folder, 'package.json'));
  for (const name of ['dist', 'node_modules']) fs.symlinkSync(path.join(root, name), path.join(folder, name));
  return path.join(folder, 'bin', 'caisson');
}

function isStale(): boolean {
  const built = fs.statSync(packagedEntry).mtimeMs;
  const source = path.join(root, 'src');
  const files = fs.readdirSync(source, { recursive: true, encoding: 'utf8' });
  return files.some((file) => /(?<!\.test)\.ts$/.test(file) && fs.statSync(path.join(source, file)).mtimeMs > built);
}
