/**
 * Thread entry: translates for all VMs of the process. What it makes goes to every thread, in one
 * order; a thread that comes later gets what there is first.
 */
import { setFlagsFromString } from 'node:v8';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { REGION_LIMIT, readProfile, regionsIn, writeProfile } from './profile.js';
import { Releases } from './service.js';
import type { TranslatorCommand } from './thread.js';
import type { EncodedModule } from './translator.js';

/** Regions of one module at most. */
const BATCH = 64;

// Compiled here, a module is ready to run wherever it is posted.
setFlagsFromString('--no-wasm-lazy-compilation');
// The optimising compiler takes twenty times as long: only for what stays hot.
setFlagsFromString('--wasm-tiering-budget=300000000');

const releases = new Releases();
const ports: MessagePort[] = [];
/** Modules of profiles, and after them regions, that wait their turn. */
const adopted: EncodedModule[] = [];
let queue: Uint8Array[] = [];
let working = false;
/** Profiles in use, with how many regions they held. */
const profiles = new Map<string, number>();
/** What this process has made, in its order, when there is a profile to keep it. */
const made: EncodedModule[] = [];
let kept = 0;

function keep(encoded: EncodedModule): void {
  if (profiles.size === 0 || kept >= REGION_LIMIT) return;
  made.push(encoded);
  kept += encoded.regions.length;
}

function work(): void {
  const module = adopted.shift();
  const release = module ? releases.adopt(module) : releases.make(queue.slice(0, BATCH), keep);
  if (!module) queue = queue.slice(BATCH);
  for (const port of ports) port.postMessage(release);
  working = adopted.length > 0 || queue.length > 0;
  if (working) setImmediate(work);
}

function begin(): void {
  if (working) return;
  working = true;
  setImmediate(work);
}

function request(regions: readonly Uint8Array[]): void {
  const fresh = releases.fresh(regions);
  if (fresh.length === 0) return;
  queue.push(...fresh);
  begin();
}

function connect(port: MessagePort): void {
  ports.push(port);
  for (const release of releases.live) port.postMessage(release);
  port.on('message', request);
}

function useProfile(path: string): void {
  if (profiles.has(path)) return;
  const modules = readProfile(path);
  profiles.set(path, regionsIn(modules));
  for (const module of modules) releases.fresh(module.regions.map(({ packed }) => packed));
  adopted.push(...modules);
  if (modules.length > 0) begin();
}

/** A profile is written again when it would grow by more than this part. */
const GROWTH = 0.05;

function close(): void {
  for (const [path, length] of profiles) {
    if (kept > length * GROWTH) writeProfile(path, [...readProfile(path), ...made]);
  }
  process.exit();
}

parentPort?.on('message', (command: TranslatorCommand) => {
  if (command.kind === 'connect') connect(command.port);
  else if (command.kind === 'profile') useProfile(command.path);
  else if (command.kind === 'counters') parentPort?.postMessage(releases.counters);
  else close();
});
