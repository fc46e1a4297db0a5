/**
 * Whether KVM works on this host, and how fast: opens it, runs a small guest, measures. Some hosts
 * offer a /dev/kvm behind which each instruction is emulated.
 */

import { pvhEntryState } from '../../arch/entry-state.js';
import { PandoError } from '../../error.js';
import { viewOf } from '../../host/libc.js';
import { mapZero, unmap } from '../../host/mmap.js';
import type { MachineBus } from '../accelerator.js';
import { buildKvmCpuid, encodeCpuid, parseCpuModel, supportedCpuid } from './cpuid.js';
import { KvmVm } from './kvm-vm.js';
import { KvmSystem } from './system.js';
import { KvmVcpu } from './vcpu.js';
import { KvmVcpuOwner } from './vcpu-setup.js';

/** What the probe guest showed. */
export interface KvmMeasurement {
  /** Instructions of a counting loop in a second. */
  readonly instructionsPerSecond: number;
  /** Nanoseconds of a port write that this process handles. */
  readonly exitNanoseconds: number;
}

const RAM = 0x10000;
const CODE = 0x1000;
const PORT = 0xf4;
/** MOV ECX, n; DEC ECX; JNZ; OUT PORT, AL; JMP to the start. */
const LOOP_INSTRUCTIONS = 2;
const COUNT_AT = CODE + 1;
const PROGRAM = [0xb9, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xe6, PORT, 0xeb, 0xf3];
/** Long enough to measure, in nanoseconds; and how often the loop may be made longer. */
const ENOUGH = 5e5;
const FIRST_COUNT = 1000;
const LAST_COUNT = 1e8;
const EXITS = 20;
const TRIES = 3;

/**
 * Runs the probe guest; takes a few milliseconds.
 * @throws PandoError KVM_* when KVM is not there or cannot run even that
 */
export function measureKvm(): KvmMeasurement {
  const system = KvmSystem.open();
  let machine: KvmVm | undefined;
  let owner: KvmVcpuOwner | undefined;
  const memory = mapZero(RAM);
  try {
    machine = new KvmVm(system, [{ guestAddress: 0, hostAddress: memory, length: RAM }]);
    const cpuid = buildKvmCpuid(supportedCpuid(system.fd), parseCpuModel('host'), {
      vcpus: 1,
      apicId: 0,
    });
    owner = new KvmVcpuOwner({
      vmFd: machine.fd,
      id: 0,
      runBytes: system.runBytes,
      cpuid: encodeCpuid(cpuid),
      msrs: [],
      thread: new Int32Array(new SharedArrayBuffer(8)),
    });
    const ram = viewOf(memory, RAM);
    ram.set(PROGRAM, CODE);
    const count = new DataView(ram.buffer, ram.byteOffset + COUNT_AT, 4);
    const vcpu = new KvmVcpu(owner.handle, new ProbeBus(), () => new Uint8Array(0));
    vcpu.reset(pvhEntryState(CODE));
    const round = (loops: number, exits: number): number => {
      count.setUint32(0, loops, true);
      const start = process.hrtime.bigint();
      const stop = vcpu.run(exits);
      if (stop === 'shutdown') {
        throw new PandoError('KVM_PROBE_FAILED', 'the probe guest ended in a triple fault', {
          remedy: 'use --accel wasm',
        });
      }
      return Number(process.hrtime.bigint() - start);
    };
    round(1, 2);
    const exitNanoseconds = round(1, EXITS) / EXITS;
    for (let loops = FIRST_COUNT; ; loops *= 10) {
      const once = (): number => round(loops, 1) - exitNanoseconds;
      // The best of some: a busy host takes the processor away for longer than this takes.
      const nanoseconds = Math.min(...Array.from({ length: TRIES }, once));
      if (nanoseconds < ENOUGH && loops < LAST_COUNT) continue;
      const instructions = loops * LOOP_INSTRUCTIONS;
      return { instructionsPerSecond: (instructions / nanoseconds) * 1e9, exitNanoseconds };
    }
  } finally {
    owner?.close();
    void machine?.closeBeside();
    system.close();
    unmap(memory, RAM);
  }
}

/** A machine with one port, which takes everything. */
class ProbeBus implements MachineBus {
  portIn(): number {
    return 0xff;
  }
  portOut(): void {}
  mmioRead(): number {
    return 0xff;
  }
  mmioWrite(): void {}
  readMsr(): undefined {
    return undefined;
  }
  writeMsr(): boolean {
    return false;
  }
  readCr8(): number {
    return 0;
  }
  writeCr8(): void {}
  pendingVector(): number {
    return -1;
  }
  acknowledge(): number {
    return -1;
  }
  pendingNmi(): boolean {
    return false;
  }
  takeNmi(): boolean {
    return false;
  }
}
