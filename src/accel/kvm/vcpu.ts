/**
 * A vCPU of KVM. Its state is the kernel's, so an object of this class is only a way to reach it: each
 * thread of the process may have one. One thread at a time runs it. KVM API documentation, section 5.
 */
import type { EntryState } from '../../arch/entry-state.js';
import type { VcpuState } from '../../arch/vcpu-state.js';
import { ioctl } from '../../host/ioctl.js';
import { viewOf } from '../../host/libc.js';
import { interruptThread, threadId } from '../../host/signal.js';
import type { MachineBus, Vcpu, VcpuStop } from '../accelerator.js';
import { EXIT, KVM, nameOf, STRUCT, VALUE } from './api.js';
import { exitError, type GuestBytes } from './exit-error.js';
import { readVcpuState, writeEntryState } from './registers.js';
import { kvmFailure } from './system.js';

const RUN = STRUCT.kvm_run;
const EINTR = -4;
const EAGAIN = -11;

/** How a thread reaches a vCPU: what can be posted to it. */
export interface KvmVcpuHandle {
  readonly id: number;
  readonly fd: number;
  /** Host address and bytes of the area that the kernel shares with the runner. */
  readonly runAddress: bigint;
  readonly runBytes: number;
  /** One word of shared memory: the thread that runs the vCPU, 0 for none. */
  readonly thread: Int32Array;
}

export class KvmVcpu implements Vcpu {
  readonly id: number;
  readonly #fd: number;
  readonly #bus: MachineBus;
  readonly #bytes: Uint8Array;
  readonly #run: DataView;
  readonly #thread: Int32Array;
  readonly #guest: GuestBytes;

  /** @param guest reads guest memory, for error reports */
  constructor(handle: KvmVcpuHandle, bus: MachineBus, guest: GuestBytes) {
    this.id = handle.id;
    this.#fd = handle.fd;
    this.#bus = bus;
    this.#bytes = viewOf(handle.runAddress, handle.runBytes);
    this.#run = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, handle.runBytes);
    this.#thread = handle.thread;
    this.#guest = guest;
  }

  reset(entry: EntryState): void {
    writeEntryState(this.#fd, entry);
  }

  /** The calling thread is the vCPU's from here on: a kick goes to it. */
  adopt(): void {
    Atomics.store(this.#thread, 0, threadId());
  }

  /** The calling thread does not run the vCPU any more. */
  abandon(): void {
    Atomics.store(this.#thread, 0, 0);
  }

  /**
   * Runs until `exits` exits have been handled, or a kick. HLT and interrupts are the kernel's, so this
   * sleeps in there while the guest does.
   * @throws PandoError KVM_* when the kernel cannot go on
   */
  run(exits: number): VcpuStop {
    for (let left = exits; left > 0; left -= 1) {
      const result = ioctl(this.#fd, KVM.KVM_RUN);
      if (result < 0) {
        if (result === EINTR) {
          this.#bytes[RUN.immediate_exit] = 0;
          return 'kick';
        }
        if (result === EAGAIN) continue;
        throw kvmFailure('KVM_RUN', result, `vCPU ${this.id}`);
      }
      switch (this.#run.getUint32(RUN.exit_reason, true)) {
        case EXIT.KVM_EXIT_IO:
          this.#port();
          break;
        case EXIT.KVM_EXIT_MMIO:
          this.#mmio();
          break;
        case EXIT.KVM_EXIT_INTR:
          break;
        case EXIT.KVM_EXIT_SHUTDOWN:
          return 'shutdown';
        default:
          throw exitError(this.#fd, this.id, this.#run, this.#guest);
      }
    }
    return 'budget';
  }

  /**
   * Finishes the instruction whose exit was handled last: until then it has not retired, and registers
   * that it changes are old. Its further exits are handled.
   */
  settle(): void {
    do this.#bytes[RUN.immediate_exit] = 1;
    while (this.run(1) !== 'kick');
  }

  #port(): void {
    const run = this.#run;
    const size = run.getUint8(RUN['io.size']);
    const port = run.getUint16(RUN['io.port'], true);
    const count = run.getUint32(RUN['io.count'], true);
    const start = Number(run.getBigUint64(RUN['io.data_offset'], true));
    const out = run.getUint8(RUN['io.direction']) === VALUE.KVM_EXIT_IO_OUT;
    for (let i = 0, at = start; i < count; i += 1, at += size) {
      if (out) this.#bus.portOut(port, size, load(run, at, size));
      else store(run, at, size, this.#bus.portIn(port, size));
    }
  }

  /** One access of 1 to 8 bytes: the devices take 1, 2 or 4 at a time, low address first. */
  #mmio(): void {
    const run = this.#run;
    const address = Number(run.getBigUint64(RUN['mmio.phys_addr'], true));
    const length = run.getUint32(RUN['mmio.len'], true);
    const write = run.getUint8(RUN['mmio.is_write']) !== 0;
    for (let done = 0; done < length; ) {
      const rest = length - done;
      const size = rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
      const at = RUN['mmio.data'] + done;
      if (write) this.#bus.mmioWrite(this.id, address + done, size, load(run, at, size));
      else store(run, at, size, this.#bus.mmioRead(this.id, address + done, size));
      done += size;
    }
  }

  asleep(): boolean {
    return this.state().halted;
  }

  /** Raises an NMI; from any thread. */
  injectNmi(): void {
    const result = ioctl(this.#fd, KVM.KVM_NMI);
    if (result < 0) throw kvmFailure('KVM_NMI', result, `vCPU ${this.id}`);
  }

  kick(): void {
    this.#bytes[RUN.immediate_exit] = 1;
    const thread = Atomics.load(this.#thread, 0);
    if (thread !== 0) interruptThread(thread);
  }

  /** KVM does not count them. */
  instructions(): bigint {
    return 0n;
  }

  /** Waits for the vCPU to leave the guest: kick it before, and keep its thread from going back. */
  state(): VcpuState {
    return readVcpuState(this.#fd);
  }

  /** The exit that was handled last, for reports: KVM_EXIT_*. */
  lastExit(): string {
    return nameOf(EXIT, this.#run.getUint32(RUN.exit_reason, true));
  }
}

function load(view: DataView, at: number, size: number): number {
  if (size === 1) return view.getUint8(at);
  return size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function store(view: DataView, at: number, size: number, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}
