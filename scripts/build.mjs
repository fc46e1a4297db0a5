/**
 * Builds dist/: the TypeScript with tsc, the wasm accelerator's core with AssemblyScript, the bundles of
 * both. `--ts` or `--core` builds one of the first two. Nothing is built that is newer than its sources.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeBundles } from './bundle.mjs';
import { bundlesAreFresh, coreIsFresh, outputs, typescriptIsFresh } from './freshness.cjs';
import { lock } from './lock.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const only = process.argv[2];
const { typescript, core } = outputs(root);

/** @param failed called before the build ends because of it */
function run(command, args, failed) {
  const result = spawnSync(process.execPath, [join(root, 'node_modules', command), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (result.status === 0) return;
  failed?.();
  process.exit(result.status ?? 1);
}

/** A compiler that finds nothing changed may leave its output's time as it was. */
function stamp(path, time) {
  utimesSync(path, time, time);
}

// Setup holds the lock already.
if (process.env.PANDO_SETUP === undefined) {
  await lock(join(root, 'dist', '.lock'), (pid) =>
    console.error(`build: process ${pid} builds this checkout; waiting for it`),
  );
}

if (only !== '--core' && !typescriptIsFresh(root)) {
  console.log('build: TypeScript');
  const began = new Date();
  // The compiler leaves its output even so: it is not fresh.
  const old = () => existsSync(typescript) && stamp(typescript, new Date(0));
  run('typescript/bin/tsc', ['-p', '.', '--incremental', '--tsBuildInfoFile', typescript], old);
  stamp(typescript, began);
}

/** Names the translator by its code: a kept translation is only taken by the one that made it. */
function identifyTranslator() {
  const wasm = join(root, 'dist', 'accel', 'wasm');
  const hash = createHash('sha256');
  for (const folder of ['isa', 'translate']) {
    const files = readdirSync(join(wasm, folder)).filter((name) => /(?<!\.test)\.js$/.test(name));
    for (const file of files.sort()) hash.update(readFileSync(join(wasm, folder, file)));
  }
  hash.update(readFileSync(join(wasm, 'layout.js')));
  writeFileSync(join(wasm, 'translator.id'), hash.digest('hex'));
}

if (only !== '--core') identifyTranslator();

const coreSources = join(root, 'src', 'accel', 'wasm', 'core', 'index.ts');
if (only !== '--ts' && existsSync(coreSources) && !coreIsFresh(root)) {
  console.log('build: the core of the wasm accelerator');
  mkdirSync(dirname(core), { recursive: true });
  const generated = spawnSync(process.execPath, [join(root, 'scripts', 'generate-ops.mjs')], {
    stdio: 'inherit',
  });
  if (generated.status !== 0) process.exit(generated.status ?? 1);
  const began = new Date();
  run('assemblyscript/bin/asc.js', [
    join('src', 'accel', 'wasm', 'core', 'index.ts'),
    '--config',
    join('src', 'accel', 'wasm', 'core', 'asconfig.json'),
    '--outFile',
    core,
  ]);
  stamp(core, began);
}

/** The bundler; undefined where it is not installed: Pando runs without bundles, but starts slower. */
async function bundler() {
  try {
    return { ...(await import('rolldown')), ...(await import('rolldown/utils')) };
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    console.error('build: no bundles: the package rolldown is not installed');
    return undefined;
  }
}

if (only === undefined && existsSync(core) && !bundlesAreFresh(root)) {
  console.log('build: bundles');
  const rolldown = await bundler();
  if (rolldown !== undefined) await makeBundles(root, rolldown);
}
