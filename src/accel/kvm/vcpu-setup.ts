/**
 * Making a vCPU, and taking it back to how it was made: CPUID, MSRs, local APIC and everything else
 * that KVM keeps of it. KVM API documentation, 4.7, 4.18 to 4.20, 4.31, 4.38, 4.42, 4.57.
 */
import { closeSync } from 'node:fs';
import { IA32_MISC_ENABLE, IA32_TIME_STAMP_COUNTER } from '../../arch/msr.js';
import { ioctl, ioctlBytes } from '../../host/ioctl.js';
import { mapShared, unmap } from '../../host/mmap.js';
import { KVM, STRUCT } from './api.js';
import { kvmStruct, kvmValue } from './system.js';
import type { KvmVcpuHandle } from './vcpu.js';

/** IA32_MISC_ENABLE: fast string operations. */
const FAST_STRINGS = 1n;

/* Local APIC registers (Intel SDM vol. 3A, table 11-1): firmware leaves the APIC enabled in virtual
   wire mode, as the board of the wasm accelerator starts with it. */
const APIC_SVR = 0xf0;
const APIC_LVT_LINT0 = 0x350;
const APIC_LVT_LINT1 = 0x360;
const SVR_ENABLED = 0x1ff;
const DELIVERY_EXTINT = 0x700;
const DELIVERY_NMI = 0x400;

/** Parts of a vCPU's state in the order in which they are written back; [read, write, structure]. */
const PARTS = [
  ['KVM_GET_SREGS', 'KVM_SET_SREGS', 'kvm_sregs'],
  ['KVM_GET_REGS', 'KVM_SET_REGS', 'kvm_regs'],
  ['KVM_GET_XSAVE', 'KVM_SET_XSAVE', 'kvm_xsave'],
  ['KVM_GET_XCRS', 'KVM_SET_XCRS', 'kvm_xcrs'],
  ['KVM_GET_DEBUGREGS', 'KVM_SET_DEBUGREGS', 'kvm_debugregs'],
  ['KVM_GET_LAPIC', 'KVM_SET_LAPIC', 'kvm_lapic_state'],
  ['KVM_GET_MP_STATE', 'KVM_SET_MP_STATE', 'kvm_mp_state'],
  ['KVM_GET_VCPU_EVENTS', 'KVM_SET_VCPU_EVENTS', 'kvm_vcpu_events'],
] as const;

/** What a host may lack: a processor without XSAVE has no XCRs. */
const OPTIONAL = new Set<string>(['KVM_GET_XSAVE', 'KVM_GET_XCRS', 'KVM_GET_DEBUGREGS']);

export interface VcpuSetup {
  readonly vmFd: number;
  readonly id: number;
  /** KVM_GET_VCPU_MMAP_SIZE. */
  readonly runBytes: number;
  /** As KVM_SET_CPUID2 takes it. */
  readonly cpuid: Uint8Array;
  /** Indices of the MSRs to take back on a reset. */
  readonly msrs: readonly number[];
  /** See KvmVcpuHandle. */
  readonly thread: Int32Array;
}

/** All that KVM keeps of a vCPU, but the time-stamp counter, which goes on counting. */
export interface SavedVcpu {
  readonly parts: readonly {
    /** What writes it back. */
    readonly request: keyof typeof KVM;
    readonly bytes: Uint8Array;
  }[];
  /** As KVM_SET_MSRS takes it. */
  readonly msrs: Uint8Array;
}

/** A vCPU as its owner has it: made, saved, restored, closed. */
export class KvmVcpuOwner {
  readonly handle: KvmVcpuHandle;
  readonly #msrIndices: readonly number[];
  readonly #initial: SavedVcpu;

  constructor(setup: VcpuSetup) {
    const { vmFd, id, runBytes, thread } = setup;
    const fd = kvmValue(vmFd, 'KVM_CREATE_VCPU', id, `vCPU ${id}`);
    let runAddress: bigint;
    try {
      runAddress = mapShared(runBytes, fd, 0);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.handle = { id, fd, runAddress, runBytes, thread };
    this.#msrIndices = setup.msrs;
    try {
      kvmStruct(fd, 'KVM_SET_CPUID2', setup.cpuid, `vCPU ${id}`);
      writeMsrs(fd, [[IA32_MISC_ENABLE, FAST_STRINGS]]);
      this.#startApic();
      this.#initial = this.save();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Writes the local APIC's state although most of it is as it was: KVM enters a vCPU into its table of
   * interrupt destinations only then, and an INIT addressed to its APIC id would be lost.
   */
  #startApic(): void {
    const bytes = new Uint8Array(STRUCT.kvm_lapic_state.size);
    kvmStruct(this.handle.fd, 'KVM_GET_LAPIC', bytes);
    if (this.handle.id === 0) {
      const view = new DataView(bytes.buffer);
      view.setUint32(APIC_SVR, SVR_ENABLED, true);
      view.setUint32(APIC_LVT_LINT0, DELIVERY_EXTINT, true);
      view.setUint32(APIC_LVT_LINT1, DELIVERY_NMI, true);
    }
    kvmStruct(this.handle.fd, 'KVM_SET_LAPIC', bytes);
  }

  /** Reads the vCPU's state; no thread runs it, and no exit of it is half done (`KvmVcpu.settle`). */
  save(): SavedVcpu {
    const { fd } = this.handle;
    const parts: SavedVcpu['parts'][number][] = [];
    for (const [read, write, struct] of PARTS) {
      const bytes = new Uint8Array(STRUCT[struct].size);
      if (OPTIONAL.has(read)) {
        if (ioctlBytes(fd, KVM[read], bytes) < 0) continue;
      } else kvmStruct(fd, read, bytes);
      parts.push({ request: write, bytes });
    }
    return { parts, msrs: readMsrs(fd, this.#msrIndices) };
  }

  /** Writes a state back, or the one that the vCPU was made with; no thread runs it. */
  restore({ parts, msrs }: SavedVcpu = this.#initial): void {
    for (const { request, bytes } of parts) {
      kvmStruct(this.handle.fd, request, bytes.slice(), `vCPU ${this.handle.id}`);
    }
    writeBack(this.handle.fd, msrs);
  }

  /** The time-stamp counter, which `save` leaves out. */
  timeStamp(): bigint {
    const bytes = encodeMsrs([[IA32_TIME_STAMP_COUNTER, 0n]]);
    kvmStruct(this.handle.fd, 'KVM_GET_MSRS', bytes, `vCPU ${this.handle.id}`);
    return new DataView(bytes.buffer).getBigUint64(MSRS.entries + ENTRY.data, true);
  }

  setTimeStamp(value: bigint): void {
    writeMsrs(this.handle.fd, [[IA32_TIME_STAMP_COUNTER, value]]);
  }

  /** Lets a guest with a paravirtual clock know that it was stopped, so that no watchdog barks. */
  tellPaused(): void {
    // Refused to a guest that has no such clock.
    ioctl(this.handle.fd, KVM.KVM_KVMCLOCK_CTRL);
  }

  close(): void {
    unmap(this.handle.runAddress, this.handle.runBytes);
    closeSync(this.handle.fd);
  }
}

const { kvm_msrs: MSRS, kvm_msr_entry: ENTRY } = STRUCT;

function encodeMsrs(rows: readonly (readonly [index: number, value: bigint])[]): Uint8Array {
  const bytes = new Uint8Array(MSRS.size + rows.length * ENTRY.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(MSRS.nmsrs, rows.length, true);
  rows.forEach(([index, value], row) => {
    view.setUint32(MSRS.entries + row * ENTRY.size + ENTRY.index, index, true);
    view.setBigUint64(MSRS.entries + row * ENTRY.size + ENTRY.data, value, true);
  });
  return bytes;
}

/** Sets MSRs; the kernel stops at the first that it refuses, and so does this, without complaint. */
export function writeMsrs(
  fd: number,
  rows: readonly (readonly [index: number, value: bigint])[],
): number {
  return kvmStruct(fd, 'KVM_SET_MSRS', encodeMsrs(rows));
}

/**
 * Reads those of the MSRs that can be read; the time-stamp counter goes on counting and is not among
 * them.
 */
function readMsrs(fd: number, indices: readonly number[]): Uint8Array {
  const rows: [number, bigint][] = [];
  let rest = indices.filter((index) => index !== IA32_TIME_STAMP_COUNTER);
  while (rest.length > 0) {
    const bytes = encodeMsrs(rest.map((index) => [index, 0n]));
    const view = new DataView(bytes.buffer);
    const read = kvmStruct(fd, 'KVM_GET_MSRS', bytes);
    for (let row = 0; row < read; row += 1) {
      const at = MSRS.entries + row * ENTRY.size;
      rows.push([view.getUint32(at + ENTRY.index, true), view.getBigUint64(at + ENTRY.data, true)]);
    }
    // The one where it stopped cannot be read on this host.
    rest = rest.slice(read + 1);
  }
  return encodeMsrs(rows);
}

/** Writes rows of `readMsrs` back, passing over those that are read-only. */
function writeBack(fd: number, all: Uint8Array): void {
  const count = new DataView(all.buffer).getUint32(MSRS.nmsrs, true);
  for (let from = 0; from < count; ) {
    const bytes = new Uint8Array(MSRS.size + (count - from) * ENTRY.size);
    bytes.set(all.subarray(MSRS.entries + from * ENTRY.size), MSRS.entries);
    new DataView(bytes.buffer).setUint32(MSRS.nmsrs, count - from, true);
    from += kvmStruct(fd, 'KVM_SET_MSRS', bytes) + 1;
  }
}
