/**
 * Starts a bundle; scripts/bundle.mjs puts a copy of this file beside each, `worker.cjs` beside
 * `worker.js`. V8's code cache, `worker.cache`, is what V8 compiled of the bundle in an earlier process:
 * V8 itself refuses it when its version or its flags differ, and the first line of the bundle, a hash of
 * the rest, must be the cache's first line too.
 */
const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');

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

const script = new Script(source, { filename: `${base}.js`, cachedData: cachedCode() });
const start = script.runInThisContext();
start(require, (name) => import(name), module, __filename);
