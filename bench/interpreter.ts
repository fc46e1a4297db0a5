/**
 * The engine's rate on the mixed workload in MIPS and, in the same run, the boot of Debian's kernel to
 * user space beside `qemu-system-x86_64 -accel tcg` on the same kernel, initrd and command line.
 *
 *     npm run bench -- [boots of each, default 5]
 *
 * Wall time from just before the process starts until the guest writes 7 to port 0xf4; boots take turns.
 */
import { benchBoot } from '#dist/bench/boot.js';
import { summarise } from '#dist/bench/statistics.js';
import { bootTables } from '#dist/bench/tables.js';
import { styleFor } from '#dist/cli/terminal/text-table.js';
import { qemuVersion } from '#dist/debug/qemu-peer.js';
import { EngineBench } from './engine-rate.js';

/** About 170 million instructions each. */
const ROUNDS = 100_000;
const RATE_RUNS = 7;

const boots = process.argv[2] ?? '5';

const engine = new EngineBench();
// The compiler of WebAssembly replaces its first, quick code while this runs.
engine.measure(ROUNDS);
const rates = Array.from({ length: RATE_RUNS }, () => engine.measure(ROUNDS));
const rate = summarise(rates.map(({ mips }) => mips));
const instructions = rates[0]?.instructions ?? 0;
console.log(
  `mixed workload: ${rate.median.toFixed(0)} MIPS, median of ${rate.count} runs of ` +
    `${(instructions / 1e6).toFixed(0)} million instructions (${rate.lowest.toFixed(0)} to ${rate.highest.toFixed(0)})`,
);

const peer = qemuVersion();
if (peer === undefined) console.log('there is no qemu-system-x86_64: Pando alone');
const report = await benchBoot(
  {
    memory: '1G',
    load: 'map',
    accel: 'wasm',
    tier: 'auto',
    timeout: '300',
    runs: boots,
    until: 'linux_start_user',
    ...(peer === undefined ? {} : { against: 'qemu' }),
  },
  'npm run bench',
  (line) => console.error(line),
);
console.log(`\n${bootTables(report, styleFor(process.stdout))}`);
const user = report.series.map(({ title, system, stages }) => ({
  title,
  system,
  ms: stages.find(({ name }) => name === 'linux_start_user')?.ms.median ?? Number.NaN,
}));
const qemu = user.find(({ system }) => system === 'qemu');
for (const { title, ms, system } of user) {
  if (system === 'qemu') continue;
  const ratio = qemu === undefined ? '' : `, ${(ms / qemu.ms).toFixed(2)} of QEMU's`;
  console.log(`${title}: user space after ${(ms / 1000).toFixed(2)} s${ratio}`);
}
