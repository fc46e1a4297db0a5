/**
 * Builds dist/: the TypeScript with tsc, the wasm accelerator's core with AssemblyScript.
 * `--ts` or `--core` builds one of the two. Nothing is built that is newer than its sources.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const only = process.argv[2];

/** Newest modification time below a folder (or of a file), in milliseconds; 0 when missing. */
function newest(path) {
  if (!existsSync(path)) return 0;
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function run(command, args) {
  const result = spawnSync(process.execPath, [join(root, 'node_modules', command), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const stamp = join(root, 'dist', 'tsconfig.tsbuildinfo');
if (
  only !== '--core' &&
  newest(stamp) < Math.max(newest(join(root, 'src')), newest(join(root, 'tsconfig.json')))
) {
  run('typescript/bin/tsc', ['-p', '.', '--incremental', '--tsBuildInfoFile', stamp]);
}

const core = join(root, 'dist', 'accel', 'wasm', 'core.wasm');
const coreSources = join(root, 'src', 'accel', 'wasm');
if (
  only !== '--ts' &&
  existsSync(join(coreSources, 'core', 'index.ts')) &&
  newest(core) < newest(coreSources)
) {
  mkdirSync(dirname(core), { recursive: true });
  const generated = spawnSync(process.execPath, [join(root, 'scripts', 'generate-ops.mjs')], {
    stdio: 'inherit',
  });
  if (generated.status !== 0) process.exit(generated.status ?? 1);
  run('assemblyscript/bin/asc.js', [
    join('src', 'accel', 'wasm', 'core', 'index.ts'),
    '--config',
    join('src', 'accel', 'wasm', 'core', 'asconfig.json'),
    '--outFile',
    core,
  ]);
}
