/** Whether what is installed and built is up to date; shared by the launcher, setup and build. */
const { existsSync, lstatSync, readdirSync, readFileSync, statSync } = require('node:fs');
const { basename, join } = require('node:path');

/** Modification time in ms; 0 when missing. */
function time(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Newest modification time of the folder and of all below it that `counts` says counts; 0 when missing. */
function newest(folder, counts = () => true) {
  if (!existsSync(folder)) return 0;
  let latest = time(folder);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (!counts(path)) continue;
    latest = Math.max(latest, entry.isDirectory() ? newest(path, counts) : time(path));
  }
  return latest;
}

/** What a start looks at, to be quick: what no test alone is made of. */
function isProduct(path) {
  return !path.endsWith('.test.ts') && basename(path) !== 'testing';
}

/** Where the builds leave their last output. */
function outputs(root) {
  return {
    typescript: join(root, 'dist', 'tsconfig.tsbuildinfo'),
    core: join(root, 'dist', 'accel', 'wasm', 'core.wasm'),
    bundles: join(root, 'dist', 'bundles', 'complete'),
  };
}

/**
 * Whether dist/ is newer than the TypeScript sources and the compiler's settings.
 * @param counts which of them are looked at
 */
function typescriptIsFresh(root, counts) {
  // The core is not tsc's, and the build writes into its folder.
  const core = join(root, 'src', 'accel', 'wasm', 'core');
  const sources = newest(join(root, 'src'), (path) => path !== core && counts?.(path) !== false);
  return time(outputs(root).typescript) >= Math.max(sources, time(join(root, 'tsconfig.json')));
}

/** Whether the accelerator's core is newer than its sources: its own files, the encodings, the layout. */
function coreIsFresh(root) {
  const wasm = join(root, 'src', 'accel', 'wasm');
  const sources = [join(wasm, 'core'), join(wasm, 'isa')].map((folder) => newest(folder));
  return time(outputs(root).core) >= Math.max(...sources, time(join(wasm, 'layout.ts')));
}

/** Whether the bundles are newer than what they are made of. */
function bundlesAreFresh(root) {
  const { typescript, core, bundles } = outputs(root);
  const makers = [
    'bundle.mjs',
    'launcher.cjs',
    'await-threads.cjs',
    'training-kernel.mjs',
    'training-snapshot.mjs',
  ];
  const parts = [typescript, core, ...makers.map((name) => join(root, 'scripts', name))];
  return time(bundles) >= Math.max(...parts.map(time));
}

/**
 * Whether everything is built that can be: without the bundler there are no bundles.
 * @param counts which sources are looked at
 */
function buildIsFresh(root, counts) {
  const bundler = join(root, 'node_modules', 'rolldown');
  return (
    typescriptIsFresh(root, counts) &&
    coreIsFresh(root) &&
    (bundlesAreFresh(root) || !existsSync(bundler))
  );
}

function packagesOf(file) {
  return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
}

/**
 * Whether node_modules holds what package-lock.json names. A node_modules that is a link belongs to
 * somebody else, who looks after it.
 */
function installIsFresh(root) {
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

module.exports = {
  buildIsFresh,
  bundlesAreFresh,
  coreIsFresh,
  installIsFresh,
  isProduct,
  outputs,
  typescriptIsFresh,
};
