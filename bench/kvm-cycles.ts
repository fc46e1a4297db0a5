/**
 * What is left in a process after many VMs: descriptors, mappings, threads, resident memory, with the
 * garbage collector left to itself.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/kvm-cycles.js [CYCLES] [kvm|wasm]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestCode } from '#dist/accel/conformance/testing/guest.js';
import { held } from '#dist/accel/conformance/testing/held.js';
import { Vm } from '#dist/vm/vm.js';

const [cyclesText = '1000', accelerator = 'kvm'] = process.argv.slice(2);
if (accelerator !== 'kvm' && accelerator !== 'wasm')
  throw new Error('the accelerator: kvm or wasm');
const cycles = Number(cyclesText);

const folder = mkdtempSync(join(tmpdir(), 'pando-cycles-'));
try {
  const kernel = join(folder, 'guest.elf');
  writeFileSync(kernel, new GuestCode().stack().print('up\n').powerOff().image());
  const cycle = async (): Promise<void> => {
    await using vm = await Vm.create({ kernel, memory: 64 << 20, accelerator });
    vm.start();
    const exit = await vm.exited;
    if (exit.kind !== 'poweroff') throw new Error(JSON.stringify(exit));
  };
  console.log('cycles descriptors mappings addressMiB threads residentMiB');
  const show = (label: string | number): void => {
    const { descriptors, mappings, addressMiB, threads, residentMiB } = held();
    console.log(
      label,
      descriptors,
      mappings,
      addressMiB.toFixed(0),
      threads,
      residentMiB.toFixed(1),
    );
  };
  show(0);
  for (let i = 1; i <= cycles; i += 1) {
    await cycle();
    if (i % Math.ceil(cycles / 20) === 0) show(i);
  }
  // Idle threads leave after a while.
  await sleep(4000);
  show('after');
} finally {
  rmSync(folder, { recursive: true });
}
