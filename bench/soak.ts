/**
 * Eight VMs in one process for a while, with translated code: four that boot Debian, compute things whose
 * results are known, and reboot or are replaced by new VMs; four whose code is rewritten at random
 * (rewriting-guest.ts). Every result is checked, and what the process holds is sampled: after warm-up it
 * must not grow.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/soak.js [--minutes N] [--json FILE]
 *
 * The exit status is 1 when a result was wrong, a VM failed or memory grew.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ensureImage } from '#dist/image/ensure-image.js';
import { ownProcess } from '#dist/platform/own-process.js';
import { WorkerPool } from '#dist/run/wasm/pool.js';
import { Vm } from '#dist/vm/vm.js';
import { growthOf } from './growth.js';
import { GuestConsole } from './guest-console.js';
import { type ProcessFigures, processFigures } from './process-figures.js';
import { RewritingModel, rewritingKernel } from './rewriting-guest.js';

ownProcess();
const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '20' }, json: { type: 'string' } },
});
const MINUTES = Number(values.minutes);
const SAMPLE_MS = 5000;
const PATIENCE_SECONDS = 300;
const BOOTING = 4;
const REWRITING = 4;
/** Reboots of a VM until a new one takes its place. */
const REBOOTS = 5;
/** Checksums of a rewriting guest until a new one takes its place. */
const CHECKSUMS = 400;
const end = performance.now() + MINUTES * 60_000;
const over = (): boolean => performance.now() >= end;
const counts = { boots: 0, vms: 0, checksums: 0, commands: 0 };
const wrong: string[] = [];
const folder = mkdtempSync(join(tmpdir(), 'pando-soak-'));

const sequence = (last: number): string =>
  Array.from({ length: last }, (_, index) => `${index + 1}\n`).join('');
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
function congruences(turns: number): number {
  let sum = 0;
  for (let i = 1; i <= turns; i++) sum = (sum * 31 + i) % 1000003;
  return sum;
}

/** Lines of shell with what they must print. */
const COMMANDS: readonly (readonly [line: string, output: string])[] = [
  ['seq 1 30000 | sha256sum | cut -c1-64', sha256(sequence(30_000))],
  [
    'i=0; s=0; while [ $i -lt 4000 ]; do i=$((i+1)); s=$(((s*31+i)%1000003)); done; echo $s',
    String(congruences(4000)),
  ],
  ['seq 1 20000 | gzip -9 | gunzip | sha256sum | cut -c1-64', sha256(sequence(20_000))],
  [
    'awk \'BEGIN { for (i = 1; i <= 20000; i++) s += i * 0.5; printf "%.1f\\n", s }\'',
    '100005000.0',
  ],
];

async function checkCommands(console: GuestConsole): Promise<void> {
  for (const [line, output] of COMMANDS) {
    console.type(`echo "<""<"; ${line}; echo ">"">"\n`);
    const [, printed] = await console.expect(/<<\r\n([\s\S]*?)\r\n>>/, PATIENCE_SECONDS);
    counts.commands++;
    if (printed !== output) wrong.push(`${line}: ${JSON.stringify(printed)}, not ${output}`);
  }
}

async function bootAndReboot(): Promise<void> {
  const image = await ensureImage('debian', { progress: () => {} });
  while (!over()) {
    await using vm = await Vm.create({
      kernel: image.kernelPath,
      ...(image.initrdPath === undefined ? {} : { initrd: image.initrdPath }),
      commandLine: `${image.commandLine} cryptomgr.notests quiet loglevel=1`,
      memory: 256 << 20,
      accelerator: 'wasm',
      tier: '1',
    });
    counts.vms++;
    const console = new GuestConsole(vm);
    vm.start();
    for (let boot = 0; boot < REBOOTS && !over(); boot++) {
      await console.expect(/user space is up[\s\S]*# /, PATIENCE_SECONDS);
      counts.boots++;
      await checkCommands(console);
      if (boot + 1 < REBOOTS) console.type('reboot -f\n');
    }
  }
}

async function rewrite(index: number): Promise<void> {
  for (let run = 0; !over(); run++) {
    const seed = index * 0x1000193 + run * 7919 + 1;
    const kernel = join(folder, `rewriting-${index}`);
    writeFileSync(kernel, rewritingKernel(seed));
    await using vm = await Vm.create({
      kernel,
      memory: 64 << 20,
      accelerator: 'wasm',
      tier: '1',
    });
    counts.vms++;
    const console = new GuestConsole(vm);
    const model = new RewritingModel(seed);
    vm.start();
    for (let number = 0; number < CHECKSUMS && !over(); number++) {
      const [text] = await console.expect(/U[\s\S]{4}/, PATIENCE_SECONDS);
      const printed = Buffer.from(text, 'latin1').readUInt32LE(1);
      const expected = model.next();
      counts.checksums++;
      if (printed === expected) continue;
      wrong.push(`rewriting guest ${seed}, checksum ${number}: ${printed}, not ${expected}`);
      return;
    }
  }
}

interface Sample extends ProcessFigures {
  readonly seconds: number;
}

const samples: Sample[] = [];
let warmSince = Number.POSITIVE_INFINITY;
const began = performance.now();

async function sample(): Promise<void> {
  let printed = 0;
  while (!over()) {
    await sleep(SAMPLE_MS);
    const seconds = Math.round((performance.now() - began) / 1000);
    samples.push({ seconds, ...processFigures() });
    if (counts.commands >= BOOTING * COMMANDS.length) warmSince = Math.min(warmSince, seconds);
    if (seconds - printed < 30) continue;
    printed = seconds;
    const { residentMiB, codeMiB, mappings, descriptors, threads } = samples.at(-1) as Sample;
    const live = await WorkerPool.shared().translations();
    console.log(
      `${seconds} s: ${residentMiB.toFixed(0)} MiB resident, ${codeMiB.toFixed(1)} MiB code, ` +
        `${mappings} mappings, ${descriptors} descriptors, ${threads} threads; ` +
        `${live?.modules} modules made, ${live?.evicted} given up, ${live?.translated} regions; ` +
        `${JSON.stringify(counts)}`,
    );
  }
}

/** Samples from when every booting VM had computed everything once: before that memory only fills. */
const warm = (): Sample[] => samples.filter(({ seconds }) => seconds >= warmSince);

const sampling = sample();
const results = await Promise.allSettled([
  ...Array.from({ length: BOOTING }, () => bootAndReboot()),
  ...Array.from({ length: REWRITING }, (_, index) => rewrite(index)),
]);
await sampling;
rmSync(folder, { recursive: true });
for (const result of results) {
  if (result.status === 'rejected') wrong.push(String(result.reason));
}
const grown = growthOf(warm());
console.log(`${JSON.stringify(counts)}; ${wrong.length} wrong results`);
for (const text of wrong) console.log(text);
if (values.json !== undefined) {
  writeFileSync(values.json, JSON.stringify({ minutes: MINUTES, counts, wrong, grown, samples }));
}
process.exitCode = wrong.length > 0 || grown.length > 0 ? 1 : 0;
