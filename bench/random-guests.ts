/**
 * Guests of random code (src/accel/conformance/testing/random-guest.ts), as many as one likes, on both tiers: none may
 * hang or fail the monitor; how long closing each took, without what the process's threads waited for a processor
 * meanwhile, and the process's memory, which must not grow. Memory is what the process holds after every 500 guests,
 * when no VM is left and garbage has been collected: before, translations of all of them are kept, up to their limit.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/random-guests.js [--count N] [--seed N] [--runs MS]
 *
 * The exit status is 1 when a guest failed the monitor, closing one took too long, or memory grew.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { threadsGone } from '#dist/accel/conformance/testing/held.js';
import { randomGuest } from '#dist/accel/conformance/testing/random-guest.js';
import { collectGarbage } from '#dist/platform/testing/garbage.js';
import { WorkerPool } from '#dist/run/wasm/pool.js';
import { Vm } from '#dist/vm/vm.js';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '10' },
  },
});
const COUNT = Number(values.count);
const SEED = Number(values.seed);
/** Milliseconds that a guest runs when it does not end by itself. */
const RUNS = Number(values.runs);
/** Milliseconds that closing may take, beside what else the machine does. */
const CLOSE_LIMIT = 100;
/** Resident memory may be so much more, in MiB, in the last quarter than in the second. */
const GROWTH = 32;
/** Guests between two moments without any. */
const BATCH = 500;

const folder = mkdtempSync(join(tmpdir(), 'pando-random-'));
const kernel = join(folder, 'guest.elf');
// So many kernels have no place in the user's store.
process.env.PANDO_STORE = join(folder, 'store');
const took: number[] = [];
/** What was waited in those that took longer than the limit. */
const waits: number[] = [];
const resident: number[] = [];
const ends = new Map<string, number>();
const wrong: string[] = [];
const slow: string[] = [];

for (let index = 0; index < COUNT; index += BATCH) {
  const end = Math.min(index + BATCH, COUNT);
  // While there is a VM, threads stay.
  const keeper = await makeGuest(SEED + index, '1');
  for (let each = index; each < end; each++)
    await runGuest(SEED + each, each % 2 === 0 ? '1' : '0');
  await report(end);
  await keeper.close();
  await threadsGone();
  collectGarbage();
  resident.push(process.memoryUsage.rss() / 2 ** 20);
}

function makeGuest(seed: number, tier: '0' | '1'): Promise<Vm> {
  writeFileSync(kernel, randomGuest(seed).image());
  const options = { kernel, memory: 32 << 20, accelerator: 'wasm', immutableImages: true } as const;
  return Vm.create({ ...options, deduplicate: false, tier });
}

async function runGuest(seed: number, tier: '0' | '1'): Promise<void> {
  const vm = await makeGuest(seed, tier);
  vm.start();
  const exit = await Promise.race([vm.exited, sleep(RUNS)]);
  const kind = exit?.kind ?? 'runs';
  ends.set(kind, (ends.get(kind) ?? 0) + 1);
  if (exit?.kind === 'error') wrong.push(`seed ${seed}: ${exit.message}`);
  const waitedBefore = waitedForProcessor();
  const began = performance.now();
  await vm.close();
  const passed = performance.now() - began;
  // Another process's load is not this one's fault.
  const waited = passed > CLOSE_LIMIT ? waitedForProcessor() - waitedBefore : 0;
  took.push(passed);
  if (passed > CLOSE_LIMIT) waits.push(waited);
  if (passed - waited > CLOSE_LIMIT) {
    slow.push(
      `seed ${seed} tier ${tier}: ${passed.toFixed(0)} ms, ${waited.toFixed(0)} of them waits`,
    );
  }
}

function at(sorted: readonly number[], part: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0).toFixed(1);
}

/** Milliseconds that the threads of this process have been ready to run without a processor (proc(5), schedstat). */
function waitedForProcessor(): number {
  let nanoseconds = 0;
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      const text = readFileSync(`/proc/self/task/${thread}/schedstat`, 'latin1');
      nanoseconds += Number(text.split(' ')[1]);
    } catch {
      // It has ended.
    }
  }
  return nanoseconds / 1e6;
}

async function report(count: number): Promise<void> {
  const translations = await WorkerPool.shared().translations();
  const modules = (translations?.modules ?? 0) - (translations?.evicted ?? 0);
  const sorted = [...took].sort((a, b) => a - b);
  const counts = [...ends].map(([kind, number]) => `${kind} ${number}`).join(', ');
  console.log(
    `${count} guests: ${counts}; close median ${at(sorted, 0.5)}, 99 % ${at(sorted, 0.99)}, longest ${at(sorted, 1)} ms, ${waits.length} above ${CLOSE_LIMIT} with the waits, ${slow.length} without; ${modules} modules of translations; ${resident.at(-1)?.toFixed(0) ?? '-'} MiB without guests before`,
  );
}

rmSync(folder, { recursive: true });
const quarter = Math.floor(resident.length / 4);
const mean = (part: readonly number[]): number =>
  part.reduce((sum, value) => sum + value, 0) / Math.max(1, part.length);
// With fewer batches there are no quarters.
const grown =
  quarter === 0 ? 0 : mean(resident.slice(-quarter)) - mean(resident.slice(quarter, 2 * quarter));
console.log(`resident memory, last quarter less the second: ${grown.toFixed(1)} MiB`);
for (const line of [...wrong, ...slow]) console.log(line);
if (wrong.length > 0 || slow.length > 0 || grown > GROWTH) process.exitCode = 1;
