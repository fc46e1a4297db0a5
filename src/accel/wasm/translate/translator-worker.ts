/**
 * Thread entry: translates for all VMs of the process. What it makes goes to every thread, in one
 * order; a thread that comes later gets what there is first.
 */
import { setFlagsFromString } from 'node:v8';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { REGION_LIMIT, readProfile, writeProfile } from './profile.js';
import { Releases } from './service.js';
import type { TranslatorCommand } from './thread.js';

/** Regions of one module at most. */
const BATCH = 64;

// Compiled here, a module is ready to run wherever it is posted.
setFlagsFromString('--no-wasm-lazy-compilation');
// The optimising compiler takes twenty times as long: only for what stays hot.
setFlagsFromString('--wasm-tiering-budget=100000000');

const releases = new Releases();
const ports: MessagePort[] = [];
let queue: Uint8Array[] = [];

function work(): void {
  const release = releases.make(queue.slice(0, BATCH));
  queue = queue.slice(BATCH);
  for (const port of ports) port.postMessage(release);
  if (queue.length > 0) setImmediate(work);
}

/** The first regions asked for, in their order: what a profile will hold. */
const asked: Uint8Array[] = [];
/** Profiles in use, with how many regions they held. */
const profiles = new Map<string, number>();

function request(regions: readonly Uint8Array[]): void {
  const fresh = releases.fresh(regions);
  if (fresh.length === 0) return;
  asked.push(...fresh.slice(0, REGION_LIMIT - asked.length));
  if (queue.length === 0) setImmediate(work);
  queue.push(...fresh);
}

function connect(port: MessagePort): void {
  ports.push(port);
  for (const release of releases.live) port.postMessage(release);
  port.on('message', request);
}

function useProfile(path: string): void {
  if (profiles.has(path)) return;
  const regions = readProfile(path);
  profiles.set(path, regions.length);
  request(regions);
}

/** A profile is written again when it has grown by more than this part. */
const GROWTH = 0.05;

function close(): void {
  for (const [path, length] of profiles) {
    if (asked.length > length * (1 + GROWTH)) writeProfile(path, asked);
  }
  process.exit();
}

parentPort?.on('message', (command: TranslatorCommand) => {
  if (command.kind === 'connect') connect(command.port);
  else if (command.kind === 'profile') useProfile(command.path);
  else if (command.kind === 'counters') parentPort?.postMessage(releases.counters);
  else close();
});
