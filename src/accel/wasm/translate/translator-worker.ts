/**
 * Thread entry: translates for all VMs of the process. What it makes goes to every thread, in one
 * order; a thread that comes later gets what there is first.
 */
import { setFlagsFromString } from 'node:v8';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { type Release, Releases } from './service.js';
import type { TranslatorCommand } from './thread.js';

/** Regions of one module at most. */
const BATCH = 64;

// Compiled here, a module is ready to run wherever it is posted.
setFlagsFromString('--no-wasm-lazy-compilation');
// The optimising compiler takes twenty times as long: only for what stays hot.
setFlagsFromString('--wasm-tiering-budget=20000000');

const releases = new Releases();
const ports: MessagePort[] = [];
/** Of the current generation. */
let made: Release[] = [];
let queue: Uint8Array[] = [];

function work(): void {
  const release = releases.make(queue.slice(0, BATCH));
  queue = queue.slice(BATCH);
  if (release.sequence === 0) made = [];
  made.push(release);
  for (const port of ports) port.postMessage(release);
  if (queue.length > 0) setImmediate(work);
}

parentPort?.on('message', ({ port }: TranslatorCommand) => {
  ports.push(port);
  for (const release of made) port.postMessage(release);
  port.on('message', (regions: Uint8Array[]) => {
    const fresh = releases.fresh(regions);
    if (fresh.length === 0) return;
    if (queue.length === 0) setImmediate(work);
    queue.push(...fresh);
  });
});
