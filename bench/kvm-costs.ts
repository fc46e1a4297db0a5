/**
 * What an exit costs on KVM: a guest writes to a port as fast as it can, once with nothing but the ioctl
 * behind it, called through koffi, and once in a VM, where the UART's scratch register takes the byte.
 * Beside it, what a write costs that an ioeventfd takes, and an interrupt by KVM_IRQ_LINE or irqfd. All
 * take turns; medians are compared.
 *
 *     npm run build && npx tsc -p bench && node dist/benches/kvm-costs.js [ROUNDS] [EXITS]
 */
import { closeSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestCode, SERIAL } from '#dist/accel/conformance/testing/guest.js';
import { EXIT } from '#dist/accel/kvm/api.js';
import { KvmIrqLines } from '#dist/accel/kvm/kvm-vm.js';
import { measureKvm } from '#dist/accel/kvm/probe.js';
import { BareVm } from '#dist/accel/kvm/testing/bare-vm.js';
import { BOOT_STAGE_PORT } from '#dist/arch/layout.js';
import { createEventfd, signalEventfd, takeEventfd } from '#dist/host/eventfd.js';
import { Vm } from '#dist/vm/vm.js';

const [rounds = 9, exits = 10_000] = process.argv.slice(2).map(Number);
const RAM = 32 << 20;
const SCRATCH = SERIAL + 7;

/** The guest: a first byte to the stage port, then the writes that are counted, then a second byte. */
function guest(): GuestCode {
  const code = new GuestCode().stack().out(BOOT_STAGE_PORT, 6);
  code.mov('ecx', exits).mov('edx', SCRATCH).label('again').emit('ee ffc9').j('nz', 'again');
  return code.out(BOOT_STAGE_PORT, 7).powerOff();
}

const median = (values: number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** Microseconds of an exit with nothing behind it but the ioctl and a look at the reason. */
function bareExit(): number {
  using vm = new BareVm(RAM);
  const code = guest();
  code.image();
  vm.load(code.origin, code.bytes());
  vm.enter();
  const start = process.hrtime.bigint();
  for (let left = exits; left > 0; left -= 1) {
    if (vm.enter() !== EXIT.KVM_EXIT_IO) {
      throw new Error('the guest left for another reason than its port');
    }
  }
  return Number(process.hrtime.bigint() - start) / exits / 1e3;
}

/** Microseconds of the same write when the kernel takes it and signals an eventfd (KVM_IOEVENTFD). */
function doorbell(): number {
  using vm = new BareVm(RAM);
  const fd = createEventfd();
  try {
    vm.machine.connectDoorbell(fd, { space: 'port', address: SCRATCH, length: 1 });
    const code = guest();
    code.image();
    vm.load(code.origin, code.bytes());
    vm.enter();
    const start = process.hrtime.bigint();
    vm.enter();
    const took = Number(process.hrtime.bigint() - start) / exits / 1e3;
    if (takeEventfd(fd) !== BigInt(exits)) throw new Error('not every write rang');
    return took;
  } finally {
    closeSync(fd);
  }
}

/** Microseconds of an edge on an interrupt input: by KVM_IRQ_LINE, and by an eventfd (KVM_IRQFD). */
function edges(): { readonly line: number; readonly eventfd: number } {
  using vm = new BareVm(RAM);
  const lines = new KvmIrqLines(vm.machine.fd);
  const fd = createEventfd();
  const time = (edge: () => void): number => {
    const start = process.hrtime.bigint();
    for (let left = exits; left > 0; left -= 1) edge();
    return Number(process.hrtime.bigint() - start) / exits / 1e3;
  };
  try {
    vm.machine.connectInterrupt(fd, 4);
    const line = time(() => {
      lines.set(4, true);
      lines.set(4, false);
    });
    return { line, eventfd: time(() => signalEventfd(fd)) };
  } finally {
    closeSync(fd);
  }
}

/** Microseconds of the same write in a VM, between the two bytes at the stage port. */
async function vmExit(kernel: string): Promise<number> {
  const vm = await Vm.create({ kernel, memory: RAM, accelerator: 'kvm' });
  try {
    vm.start();
    const exit = await vm.exited;
    const at = (name: string): number => vm.stages.find((stage) => stage.name === name)?.ms ?? NaN;
    const took = at('linux_start_user') - at('linux_start_kernel');
    if (Number.isNaN(took)) throw new Error(`the guest did not get there: ${JSON.stringify(exit)}`);
    return (took * 1e3) / exits;
  } finally {
    await vm.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'pando-exit-'));
try {
  const kernel = join(folder, 'guest.elf');
  writeFileSync(kernel, guest().image());
  const { instructionsPerSecond } = measureKvm();
  console.log(`counting loop: ${(instructionsPerSecond / 1e6).toFixed(1)} million instructions/s`);
  const bare: number[] = [];
  const ours: number[] = [];
  const rings: number[] = [];
  const line: number[] = [];
  const eventfd: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    bare.push(bareExit());
    ours.push(await vmExit(kernel));
    rings.push(doorbell());
    const edge = edges();
    line.push(edge.line);
    eventfd.push(edge.eventfd);
  }
  const row = (name: string, values: number[]): void => {
    const list = values.map((value) => value.toFixed(1)).join(' ');
    console.log(`${name.padEnd(44)}${median(values).toFixed(2).padStart(6)}   (${list})`);
  };
  console.log(`µs, medians of ${rounds} rounds of ${exits}`);
  row('port write, bare ioctl loop', bare);
  row('port write, in a VM, handled in TypeScript', ours);
  console.log(`  ratio ${(median(ours) / median(bare)).toFixed(2)}`);
  row('port write, taken by an ioeventfd', rings);
  row('interrupt edge, KVM_IRQ_LINE twice', line);
  row('interrupt edge, irqfd', eventfd);
} finally {
  rmSync(folder, { recursive: true });
}
