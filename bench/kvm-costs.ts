/**
 * What an exit costs on KVM: a guest writes to a port as fast as it can, once with nothing but the ioctl
 * behind it, called through koffi, and once in a VM, where the UART's scratch register takes the byte.
 * The two take turns; medians are compared.
 *
 *     npm run build && npx tsc -p bench && node dist/bench/kvm-costs.js [ROUNDS] [EXITS]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestCode, SERIAL } from '../accel/conformance/testing/guest.js';
import { EXIT, KVM, STRUCT } from '../accel/kvm/api.js';
import { buildKvmCpuid, encodeCpuid, parseCpuModel, supportedCpuid } from '../accel/kvm/cpuid.js';
import { KvmMachine } from '../accel/kvm/machine.js';
import { measureKvm } from '../accel/kvm/probe.js';
import { writeEntryState } from '../accel/kvm/registers.js';
import { KvmSystem } from '../accel/kvm/system.js';
import { KvmVcpuOwner } from '../accel/kvm/vcpu-setup.js';
import { pvhEntryState } from '../arch/entry-state.js';
import { BOOT_STAGE_PORT } from '../arch/layout.js';
import { ioctl } from '../host/ioctl.js';
import { viewOf } from '../host/libc.js';
import { mapZero, unmap } from '../host/mmap.js';
import { Vm } from '../vm/vm.js';

const [rounds = 9, exits = 10_000] = process.argv.slice(2).map(Number);
const RAM = 32 << 20;
const SCRATCH = SERIAL + 7;

/** The guest: a first byte to the stage port, then the writes that are counted, then a second byte. */
function guest(): GuestCode {
  const code = new GuestCode().stack().out(BOOT_STAGE_PORT, 6);
  code.mov('ecx', exits).mov('edx', SCRATCH).label('again').emit('ee ffc9').j('nz', 'again');
  return code.out(BOOT_STAGE_PORT, 7).powerOff();
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** Microseconds of an exit with nothing behind it but the ioctl and a look at the reason. */
function bareExit(): number {
  const system = KvmSystem.open();
  const memory = mapZero(RAM);
  let machine: KvmMachine | undefined;
  let owner: KvmVcpuOwner | undefined;
  try {
    machine = new KvmMachine(system, [{ guestAddress: 0, hostAddress: memory, length: RAM }]);
    const model = parseCpuModel('host');
    const cpuid = buildKvmCpuid(supportedCpuid(system.fd), model, { vcpus: 1, apicId: 0 });
    owner = new KvmVcpuOwner({
      vmFd: machine.fd,
      id: 0,
      runBytes: system.runBytes,
      cpuid: encodeCpuid(cpuid),
      msrs: [],
      thread: new Int32Array(new SharedArrayBuffer(8)),
    });
    const code = guest();
    code.image();
    viewOf(memory, RAM).set(code.bytes(), code.origin);
    const { fd, runAddress, runBytes } = owner.handle;
    const bytes = viewOf(runAddress, runBytes);
    const run = new DataView(bytes.buffer, bytes.byteOffset, runBytes);
    writeEntryState(fd, pvhEntryState(code.origin));
    ioctl(fd, KVM.KVM_RUN);
    const start = process.hrtime.bigint();
    for (let left = exits; left > 0; left -= 1) {
      ioctl(fd, KVM.KVM_RUN);
      if (run.getUint32(STRUCT.kvm_run.exit_reason, true) !== EXIT.KVM_EXIT_IO) {
        throw new Error('the guest left for another reason than its port');
      }
    }
    return Number(process.hrtime.bigint() - start) / exits / 1e3;
  } finally {
    owner?.close();
    machine?.close();
    system.close();
    unmap(memory, RAM);
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
  for (let round = 0; round < rounds; round += 1) {
    bare.push(bareExit());
    ours.push(await vmExit(kernel));
  }
  const list = (values: number[]): string => values.map((value) => value.toFixed(1)).join(' ');
  console.log(`bare ioctl loop, µs an exit: ${list(bare)}`);
  console.log(`VM, port write in TypeScript: ${list(ours)}`);
  const [low, high] = [median(bare), median(ours)];
  console.log(
    `medians of ${rounds} rounds of ${exits}: bare ${low.toFixed(1)} µs, VM ${high.toFixed(1)} µs, ratio ${(high / low).toFixed(2)}`,
  );
} finally {
  rmSync(folder, { recursive: true });
}
