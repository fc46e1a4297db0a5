/**
 * What KVM costs: an exit that TypeScript handles against the bare ioctl loop, a VM from the call to
 * its first entry, and what is left after many VMs.
 *
 *     npm run build && npx tsc -p bench && node dist/bench/kvm-costs.js KERNEL [CYCLES]
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { measureKvm } from '../accel/kvm/probe.js';
import { Vm } from '../vm/vm.js';

const [kernel, cyclesText = '1000'] = process.argv.slice(2);
if (kernel === undefined) throw new Error('usage: kvm-costs KERNEL [CYCLES]');

/** Descriptors, mappings and threads of this process, and its resident memory in MiB. */
function held(): Record<string, number> {
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
    threads: readdirSync('/proc/self/task').length,
    residentMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
}

/** Milliseconds from the call of Vm.create to the first KVM_RUN. */
async function firstEntry(memory: number): Promise<number> {
  const start = performance.now();
  const vm = await Vm.create({
    kernel: kernel!,
    memory,
    accelerator: 'kvm',
    immutableImages: true,
  });
  const entered = new Promise<number>((resolve) => {
    vm.onStage(({ name, ms }) => name === 'vmm_init_end' && resolve(ms - start));
  });
  vm.start();
  const took = await entered;
  await vm.close();
  return took;
}

console.log('exit and loop (the probe guest):', measureKvm());

const cold = await firstEntry(2 ** 30);
const warm: number[] = [];
for (let i = 0; i < 21; i += 1) warm.push(await firstEntry(2 ** 30));
warm.sort((a, b) => a - b);
console.log(
  `first entry, 1 GiB: cold ${cold.toFixed(1)} ms, warm median ${warm[10]?.toFixed(2)} ms, best ${warm[0]?.toFixed(2)} ms`,
);

const cycles = Number(cyclesText);
console.log('before', held());
for (let i = 1; i <= cycles; i += 1) {
  await firstEntry(64 * 2 ** 20);
  if (i % Math.ceil(cycles / 5) === 0) console.log(i, held());
}
await sleep(3000);
console.log('after', held());
