/** Whether what is installed and built is up to date; shared by the launcher, setup and build. */
import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Newest modification time at or below a path, but not below `except`, in ms; 0 when missing. */
function newest(path, except) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || path === except) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name), except)));
}

/** Where the builds leave their last output. */
export function outputs(root) {
  return {
    typescript: join(root, 'dist', 'tsconfig.tsbuildinfo'),
    core: join(root, 'dist', 'accel', 'wasm', 'core.wasm'),
  };
}

/** Whether dist/ is newer than all TypeScript sources and the compiler's settings. */
export function typescriptIsFresh(root) {
  // The core is not tsc's, and the build writes into its folder.
  const core = join(root, 'src', 'accel', 'wasm', 'core');
  const sources = Math.max(newest(join(root, 'src'), core), newest(join(root, 'tsconfig.json')));
  return newest(outputs(root).typescript) >= sources;
}

/** Whether the accelerator's core is newer than its sources. */
export function coreIsFresh(root) {
  return newest(outputs(root).core) >= newest(join(root, 'src', 'accel', 'wasm'));
}

function packagesOf(file) {
  return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
}

/**
 * Whether node_modules holds what package-lock.json names. A node_modules that is a link belongs to
 * somebody else, who looks after it.
 */
export function installIsFresh(root) {
  const folder = join(root, 'node_modules');
  if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink() === true) return true;
  const installed = join(folder, '.package-lock.json');
  if (!existsSync(installed)) return false;
  const present = packagesOf(installed);
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(
    ([path, { version, optional }]) =>
      path === '' || optional === true || present[path]?.version === version,
  );
}
