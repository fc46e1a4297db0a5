/**
 * Thread entry: translates for all VMs of the process. What it makes goes to every thread, in one
 * order; a thread that comes later gets what there is first.
 */
import { type MessagePort, parentPort } from '../../../platform/threads.js';
import { OpenProfile } from './open-profile.js';
import { isWide, regionKey } from './region.js';
import { type Release, Releases } from './service.js';
import type { TranslatorAnswer, TranslatorCommand } from './thread.js';
import type { EncodedRegion } from './translator.js';

/** Regions of one module at most. */
const BATCH = 64;
/** Wide regions of one module at most: none is there before all of them are. */
const WIDE_BATCH = 4;
/**
 * Bytes of functions in a module made of a profile: the first is small, for the guest needs it now, the
 * others larger and larger, for each costs a millisecond here and some in each thread.
 */
const FIRST_BYTES = 32 << 10;
const MOST_BYTES = 256 << 10;

const releases = new Releases();
const ports: MessagePort[] = [];
/** What will be modules of profiles, and after them regions, that wait their turn. */
const adopted: EncodedRegion[][] = [];
let queue: Uint8Array[] = [];
let working = false;
/** Wide regions to be compiled, and whether some are. */
const wide: EncodedRegion[] = [];
let optimising = false;
/** Profiles in use, by their files. */
const profiles = new Map<string, OpenProfile>();

function publish(release: Release): void {
  const keys = releases.keysOf(release);
  for (const profile of profiles.values()) profile.follow(keys, release.uses);
  for (const port of ports) port.postMessage(release);
}

/** Translates and compiles what is asked for, a module at a time. */
function work(): void {
  const kept = adopted.shift();
  if (kept !== undefined) publish(releases.adopt(kept, true));
  else {
    const regions = releases.translate(queue.slice(0, BATCH));
    queue = queue.slice(BATCH);
    // Whose kernel a region is of, is not known.
    for (const profile of profiles.values()) profile.add(regions);
    publish(releases.adopt(regions));
  }
  working = adopted.length > 0 || queue.length > 0;
  if (working) setImmediate(work);
}

/** Lets the optimising compiler do the wide regions, while this thread goes on with others. */
async function optimise(): Promise<void> {
  for (;;) {
    const regions = wide.splice(0, WIDE_BATCH);
    if (regions.length === 0) break;
    publish(await releases.adoptOptimised(regions));
  }
  optimising = false;
}

function begin(): void {
  if (!working && adopted.length + queue.length > 0) {
    working = true;
    setImmediate(work);
  }
  if (!optimising && wide.length > 0) {
    optimising = true;
    void optimise();
  }
}

function request(regions: readonly Uint8Array[]): void {
  const fresh = releases.fresh(regions, regionKey);
  queue.push(...fresh.filter((packed) => !isWide(packed)));
  // Profiles do without them: compiling them all would come before what the next boot waits for.
  const large = fresh.filter(isWide);
  if (large.length > 0) wide.push(...releases.translate(large));
  begin();
}

function connect(port: MessagePort): void {
  ports.push(port);
  for (const release of releases.live) port.postMessage(release);
  port.on('message', request);
}

/** Regions of a profile, in their order, as the modules that are made of them. */
function modulesOf(regions: readonly EncodedRegion[]): EncodedRegion[][] {
  const modules: EncodedRegion[][] = [];
  let most = FIRST_BYTES / 2;
  let bytes = Number.POSITIVE_INFINITY;
  for (const region of regions) {
    bytes += region.body.length;
    if (bytes <= most) modules.at(-1)?.push(region);
    else {
      most = Math.min(2 * most, MOST_BYTES);
      modules.push([region]);
      bytes = region.body.length;
    }
  }
  return modules;
}

function useProfile(path: string): void {
  if (profiles.has(path)) return;
  const profile = new OpenProfile(path);
  profiles.set(path, profile);
  const regions = profile.read();
  for (const release of releases.live) profile.follow(releases.keysOf(release), release.uses);
  adopted.push(...modulesOf(releases.fresh(regions, ({ key }) => key)));
  begin();
}

function saveProfile(path: string, profile: OpenProfile): void {
  if (profile.save()) answer({ kind: 'kept', path });
}

function saveProfiles(): void {
  for (const [path, profile] of profiles) saveProfile(path, profile);
}

function leaveProfile(path: string): void {
  const profile = profiles.get(path);
  if (profile !== undefined) saveProfile(path, profile);
  profiles.delete(path);
}

function answer(answered: TranslatorAnswer): void {
  parentPort()?.postMessage(answered);
}

parentPort()?.on('message', (command: TranslatorCommand) => {
  if (command.kind === 'connect') connect(command.port);
  else if (command.kind === 'profile') useProfile(command.path);
  else if (command.kind === 'leave') leaveProfile(command.path);
  else if (command.kind === 'save') {
    saveProfiles();
    answer({ kind: 'saved' });
  } else if (command.kind === 'counters') answer({ kind: 'counters', counters: releases.counters });
  else if (command.kind === 'trim-heap') globalThis.gc?.();
  else {
    saveProfiles();
    process.exit();
  }
});
answer({ kind: 'loaded' });
