/** The least that KVM runs: RAM, one vCPU, and requests by hand. For tests and benches. */
import { entryGdt, pvhEntryState } from '../../../arch/entry-state.js';
import { ENTRY_GDT_ADDRESS } from '../../../arch/layout.js';
import { ioctl } from '../../../host/ioctl.js';
import { viewOf } from '../../../host/libc.js';
import { mapZero, unmap } from '../../../host/mmap.js';
import { KVM, STRUCT } from '../api.js';
import { buildKvmCpuid, encodeCpuid, parseCpuModel, supportedCpuid } from '../cpuid.js';
import { KvmVm } from '../kvm-vm.js';
import { writeEntryState } from '../registers.js';
import { KvmSystem } from '../system.js';
import { KvmVcpuOwner } from '../vcpu-setup.js';

const VIEW_LIMIT = 32 << 20;

export class BareVm implements Disposable {
  readonly machine: KvmVm;
  readonly owner: KvmVcpuOwner;
  /** From guest physical address 0, as much of it as tests use. */
  readonly ram: Uint8Array;
  /** struct kvm_run. */
  readonly run: DataView;
  readonly #memory: bigint;
  readonly #ramBytes: number;

  /**
   * @param ramBytes one slot from 0
   * @param cpu CPU model
   */
  constructor(ramBytes: number, cpu = 'host') {
    this.#memory = mapZero(ramBytes);
    this.#ramBytes = ramBytes;
    // JavaScript's garbage collector takes what a view spans for memory of its own, and hurries.
    this.ram = viewOf(this.#memory, Math.min(ramBytes, VIEW_LIMIT));
    const system = KvmSystem.open();
    let machine: KvmVm | undefined;
    try {
      const slot = { guestAddress: 0, hostAddress: this.#memory, length: ramBytes };
      machine = new KvmVm(system, [slot]);
      const processor = { vcpus: 1, apicId: 0 };
      const cpuid = buildKvmCpuid(supportedCpuid(system.fd), parseCpuModel(cpu), processor);
      this.owner = new KvmVcpuOwner({
        vmFd: machine.fd,
        id: 0,
        runBytes: system.runBytes,
        cpuid: encodeCpuid(cpuid),
        msrs: system.msrIndices(),
        thread: new Int32Array(new SharedArrayBuffer(8)),
      });
      this.machine = machine;
    } catch (error) {
      machine?.close();
      unmap(this.#memory, ramBytes);
      throw error;
    } finally {
      system.close();
    }
    const { runAddress, runBytes } = this.owner.handle;
    const bytes = viewOf(runAddress, runBytes);
    this.run = new DataView(bytes.buffer, bytes.byteOffset, runBytes);
  }

  /** Puts code into RAM and the vCPU before it, in 32-bit protected mode. */
  load(address: number, code: Uint8Array): void {
    this.ram.set(entryGdt(), ENTRY_GDT_ADDRESS);
    this.ram.set(code, address);
    writeEntryState(this.owner.handle.fd, pvhEntryState(address));
  }

  /** KVM_RUN; gives kvm_run.exit_reason, or the negated error number. */
  enter(): number {
    const result = ioctl(this.owner.handle.fd, KVM.KVM_RUN);
    return result < 0 ? result : this.run.getUint32(STRUCT.kvm_run.exit_reason, true);
  }

  /** The port of the exit that was a port access. */
  get port(): number {
    return this.run.getUint16(STRUCT.kvm_run['io.port'], true);
  }

  /** What the guest wrote to it, up to four bytes. */
  get portValue(): number {
    const at = Number(this.run.getBigUint64(STRUCT.kvm_run['io.data_offset'], true));
    const size = this.run.getUint8(STRUCT.kvm_run['io.size']);
    if (size === 1) return this.run.getUint8(at);
    return size === 2 ? this.run.getUint16(at, true) : this.run.getUint32(at, true);
  }

  [Symbol.dispose](): void {
    this.owner.close();
    this.machine.close();
    unmap(this.#memory, this.#ramBytes);
  }
}
