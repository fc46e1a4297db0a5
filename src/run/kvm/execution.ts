/**
 * A VM on KVM: a thread for each vCPU (vcpu-thread.ts), which sleeps in the kernel while the guest
 * does. The owner's thread looks after the devices' timers and the host's side of the console; KVM's
 * interrupt lines may be driven from any thread.
 */
import {
  buildKvmCpuid,
  encodeCpuid,
  parseCpuModel,
  supportedCpuid,
} from '../../accel/kvm/cpuid.js';
import { KvmVm, memorySlots } from '../../accel/kvm/kvm-vm.js';
import { vcpuWords, WORD_THREAD } from '../../accel/kvm/layout.js';
import {
  machineParts,
  restoreMachine,
  restoreVcpu,
  vcpuParts,
} from '../../accel/kvm/state-parts.js';
import { KvmSystem } from '../../accel/kvm/system.js';
import { KvmVcpu } from '../../accel/kvm/vcpu.js';
import { KvmVcpuOwner } from '../../accel/kvm/vcpu-setup.js';
import type { EntryState } from '../../arch/entry-state.js';
import type { VcpuState } from '../../arch/vcpu-state.js';
import type { Board } from '../../devices/board.js';
import { PandoError } from '../../error.js';
import type { GuestRam } from '../../memory/guest-ram.js';
import { REQUEST_DETACH, REQUEST_PARK, type VmControl } from '../control.js';
import type { DeviceDescription } from '../devices.js';
import type { Ending, Execution, Failure, MachineListener } from '../execution.js';
import { checkMachineState, MACHINE_STATE_VERSION, type MachineState } from '../machine-state.js';
import { attachKvmBoard, type KvmDescription } from './board.js';
import { whileStill } from './stand-still.js';
import type { VcpuEvent } from './vcpu-event.js';
import { type VcpuThread, VcpuThreads } from './vcpu-threads.js';

export interface KvmExecutionOptions {
  readonly memory: GuestRam;
  readonly control: VmControl;
  readonly cpus: number;
  /** CPU model: `host`, `v1` …, see accel/kvm/cpuid.ts. */
  readonly cpu: string;
  readonly devices: readonly DeviceDescription[];
  readonly listener: MachineListener;
}

/** What setTimeout takes at most, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

export class KvmExecution implements Execution {
  readonly board: Board;
  readonly #control: VmControl;
  readonly #listener: MachineListener;
  readonly #machine: KvmVm;
  readonly #owners: KvmVcpuOwner[] = [];
  readonly #vcpus: KvmVcpu[] = [];
  readonly #description: KvmDescription;
  #threads: VcpuThread[] = [];
  /** Numbers of the vCPUs that have not said why they stopped. */
  readonly #running = new Set<number>();
  /** The first event of this run that is more than `parked`. */
  #ending: Ending | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The guest's paravirtual clock while the VM is parked. */
  #clock = 0n;
  #closed = false;
  /** The kernel's part of the machine is as it was made. */
  #fresh = true;

  /** @throws PandoError KVM_*, CPU_* */
  constructor({ memory, control, cpus, cpu, devices, listener }: KvmExecutionOptions) {
    this.#control = control;
    this.#listener = listener;
    const model = parseCpuModel(cpu);
    const system = KvmSystem.open();
    try {
      checkVcpus(system, cpus);
      this.#machine = new KvmVm(system, memorySlots(memory.ramHostAddress, memory.ramBytes));
      const supported = supportedCpuid(system.fd);
      const runBytes = system.runBytes;
      const msrs = system.msrIndices();
      for (let id = 0; id < cpus; id += 1) {
        this.#owners.push(
          new KvmVcpuOwner({
            vmFd: this.#machine.fd,
            id,
            runBytes,
            cpuid: encodeCpuid(buildKvmCpuid(supported, model, { vcpus: cpus, apicId: id })),
            msrs,
            thread: vcpuWords(memory.buffer, id),
          }),
        );
      }
      this.#description = {
        control: memory.buffer,
        ramHostAddress: memory.ramHostAddress,
        ramBytes: memory.ramBytes,
        vmFd: this.#machine.fd,
        vcpus: this.#owners.map(({ handle }) => ({
          id: handle.id,
          fd: handle.fd,
          runAddress: handle.runAddress,
          runBytes: handle.runBytes,
        })),
        devices,
      };
      this.board = attachKvmBoard(this.#description, control, {
        onDoorbell: (device) => setImmediate(listener, { kind: 'doorbell', device }),
      });
      for (const { handle } of this.#owners) {
        this.#vcpus.push(new KvmVcpu(handle, this.board, noGuestBytes));
      }
      control.request(REQUEST_PARK);
      this.#attachThreads();
    } catch (error) {
      this.#giveUp();
      throw error;
    } finally {
      system.close();
    }
  }

  #attachThreads(): void {
    const pool = VcpuThreads.shared();
    const leave = (): void => {
      this.#control.request(REQUEST_DETACH);
      this.#kick();
    };
    for (const { id } of this.#vcpus) {
      const assignment = { vm: this.#description, vcpu: id };
      this.#threads.push(pool.take(assignment, (event) => this.#hear(id, event), leave));
    }
  }

  reset(entry: EntryState): void {
    this.board.reset();
    if (!this.#fresh) {
      this.#machine.restore();
      for (const owner of this.#owners) owner.restore();
    }
    this.#fresh = false;
    this.#vcpus[0]?.reset(entry);
    this.#clock = 0n;
  }

  start(): number {
    this.#ending = undefined;
    this.#machine.setClock(this.#clock);
    for (const owner of this.#owners) owner.tellPaused();
    this.#control.startTime();
    for (const { id } of this.#vcpus) this.#running.add(id);
    const epoch = this.#control.startEpoch();
    this.#arm();
    return epoch;
  }

  park(): void {
    this.#control.request(REQUEST_PARK);
    this.#kick();
  }

  #kick(): void {
    for (const vcpu of this.#vcpus) vcpu.kick();
  }

  #hear(vcpu: number, event: VcpuEvent): void {
    switch (event.kind) {
      case 'timer':
        this.#arm();
        return;
      case 'stopped':
        if (event.epoch === this.#control.epoch()) this.#stopped(vcpu, event.event);
        return;
      case 'failed':
        this.#failed(vcpu, event.event);
        return;
      default:
        this.#listener(event);
    }
  }

  #stopped(vcpu: number, event: Ending): void {
    if (!this.#running.delete(vcpu)) return;
    if (event.kind !== 'parked') this.#ending ??= event;
    if (this.#running.size > 0) return;
    clearTimeout(this.#timer);
    this.#clock = this.#machine.clock();
    this.#listener(this.#ending ?? { kind: 'parked' }, this.#control.epoch());
  }

  /** A vCPU has no thread any more: the others stop, and the VM cannot go on. */
  #failed(vcpu: number, event: Failure): void {
    if (this.#closed) return;
    // A kick would go to whoever has its number now, and it may have died in the middle of a device.
    Atomics.store(vcpuWords(this.#description.control, vcpu), WORD_THREAD, 0);
    this.board.abandonLock();
    if (this.#running.has(vcpu)) {
      this.park();
      this.#stopped(vcpu, event);
    } else if (this.#running.size === 0) this.#listener(event);
    else this.#ending ??= event;
  }

  /** Sets the host's timer for the devices' next deadline. */
  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#running.size === 0) return;
    const deadline = this.board.nextDeadline();
    this.#control.deadline = deadline;
    if (deadline === Number.POSITIVE_INFINITY) return;
    const wait = (deadline - this.#control.now()) / 1e6;
    this.#timer = setTimeout(
      () => {
        this.board.advance(this.#control.now());
        this.#arm();
      },
      Math.min(Math.max(0, wait), LONGEST_TIMER),
    ).unref();
  }

  consoleMoved(): void {
    this.board.pumpInput();
    this.board.pumpOutput();
    this.#arm();
  }

  injectNmi(): void {
    for (const vcpu of this.#vcpus) vcpu.injectNmi();
  }

  save(): MachineState {
    const parts = [...this.board.save(), ...machineParts(this.#machine.save(), this.#clock)];
    for (const owner of this.#owners) parts.push(...vcpuParts(owner));
    const time = this.#control.now();
    return { version: MACHINE_STATE_VERSION, accelerator: 'kvm', time, parts };
  }

  restore(state: MachineState): void {
    checkMachineState(state, 'kvm');
    this.board.restore(state.parts);
    this.#clock = restoreMachine(this.#machine, state.parts);
    for (const owner of this.#owners) restoreVcpu(owner, state.parts);
    this.#control.setTime(state.time);
    this.#fresh = false;
  }

  captureCode(): undefined {
    return undefined;
  }

  vcpuState(vcpu: number): VcpuState {
    const target = this.#vcpus[vcpu];
    if (target === undefined) {
      throw new PandoError('VCPU_UNKNOWN', `there is no vCPU ${vcpu} of ${this.#vcpus.length}`);
    }
    if (!this.#running.has(vcpu)) return target.state();
    const words = vcpuWords(this.#description.control, vcpu);
    const kick = (): void => target.kick();
    return whileStill(this.#control, { id: vcpu, words, kick }, () => target.state());
  }

  instructions(): bigint {
    return 0n;
  }

  /** It is the processor's, at the processor's pace. */
  timestamp(): undefined {
    return undefined;
  }

  /** The kernel holds nothing here that it could make again. */
  trim(): void {}

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#control.request(REQUEST_DETACH);
    this.#kick();
    const threads = this.#threads;
    this.#threads = [];
    await Promise.all(threads.map((thread) => thread.detached));
    this.#closeVcpus();
    await this.#machine.closeBeside();
  }

  /** What was made before the constructor failed. */
  #giveUp(): void {
    this.#closeVcpus();
    this.#machine?.close();
  }

  #closeVcpus(): void {
    for (const owner of this.#owners) owner.close();
    this.#owners.length = 0;
    this.#vcpus.length = 0;
  }
}

/** Error reports are made on the vCPU's own thread. */
const noGuestBytes = (): Uint8Array => new Uint8Array(0);

function checkVcpus(system: KvmSystem, cpus: number): void {
  const limit = system.capability('KVM_CAP_MAX_VCPUS');
  if (cpus <= limit) return;
  throw new PandoError('KVM_VCPUS', `${cpus} vCPUs exceed this host's limit of ${limit}`, {
    remedy: `use --cpus ${limit} or fewer`,
  });
}
