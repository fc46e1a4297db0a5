/**
 * Starts a bundle; scripts/bundle.mjs puts a copy of this file beside each, `worker.cjs` beside
 * `worker.js`. V8's code cache, `worker.cache`, is what V8 compiled of the bundle in an earlier process:
 * V8 itself refuses it when its version or its flags differ, and the first line of the bundle, a hash of
 * the rest, must be the cache's first line too.
 */
const { readFileSync } = require('node:fs');
const { basename } = require('node:path');
const { Script } = require('node:vm');

/** As in src/host/libc.ts. */
const KOFFI = '@koromix/koffi-linux-x64/linux_x64/koffi.node';

const base = __filename.slice(0, -'.cjs'.length);
/** ASCII, which Latin-1 reads fastest. */
const source = readFileSync(`${base}.js`, 'latin1');
const mark = source.slice(0, source.indexOf('\n') + 1);

function cachedCode() {
  let bytes;
  try {
    bytes = readFileSync(`${base}.cache`);
  } catch {
    return undefined;
  }
  return bytes.latin1Slice(0, mark.length) === mark ? bytes.subarray(mark.length) : undefined;
}

/**
 * Threads of V8's, which compile for guests, share one heap of malloc: what one frees serves the next. Each thread
 * chooses its heap when it first allocates, which is while the bundle loads. Processes of VMs are started with
 * MALLOC_ARENA_MAX instead (src/fleet/process.ts); other programs compile little.
 */
function shareHeap() {
  const M_ARENA_MAX = -8;
  try {
    require(KOFFI).load(null).func('int mallopt(int, int)')(M_ARENA_MAX, 1);
  } catch {
    // Not glibc, or a koffi for another system: each thread has its own.
  }
}

if (basename(base) === 'run-main') shareHeap();
const script = new Script(source, { filename: `${base}.js`, cachedData: cachedCode() });
const start = script.runInThisContext();
start(require, (name) => import(name), module, __filename);
