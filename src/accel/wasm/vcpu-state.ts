/** The registers of a vCPU in its block of the control area: as a plain state, and as bytes to save. */
import type { VcpuState } from '../../arch/vcpu-state.js';
import * as L from './layout.js';

/** Of the saved bytes: changes with what layout.ts and core/system-state.ts put into the block. */
export const VCPU_STATE_VERSION = 1;
/** The block's registers and MSRs; TLBs and caches follow. */
export const VCPU_STATE_BYTES = 0x1000;

/** What belongs to the machine that runs the vCPU and is neither saved nor restored: offset, bytes. */
const OWN: readonly (readonly [offset: number, bytes: number])[] = [
  [L.CURRENT_BLOCK, 4],
  [L.ARENA_NEXT, 4],
  [L.LARGE_LOW, 16],
  [L.RAM_PAGES, 4],
  [L.ARENA_FLUSHES, 4],
  [L.VCPU_ID, 4],
  [L.CPUID_ROWS, 4],
  [L.KICKED, 4],
  [L.BOUNCE, 64],
  [L.SIMD_SCRATCH, 16],
  [L.CODE_SCRATCH, L.JIT_RIP - L.CODE_SCRATCH],
  [L.JIT_RIP, L.WRITTEN_PENDING + 4 - L.JIT_RIP],
];

/** A copy of the registers of a vCPU that does not run. */
export function saveRegisters(block: Uint8Array): Uint8Array {
  const bytes = block.slice(0, VCPU_STATE_BYTES);
  for (const [offset, length] of OWN) bytes.fill(0, offset, offset + length);
  return bytes;
}

/** Puts saved registers into the block of a vCPU that does not run. */
export function restoreRegisters(block: Uint8Array, bytes: Uint8Array): void {
  const next = bytes.slice();
  for (const [offset, length] of OWN) {
    next.set(block.subarray(offset, offset + length), offset);
  }
  block.set(next);
}

/** Reads a vCPU's registers from its block. */
export function wasmVcpuState(view: DataView, rflags: bigint): VcpuState {
  const word = (offset: number): bigint => view.getBigUint64(offset, true);
  return {
    rip: word(L.RIP),
    rflags,
    gpr: Array.from({ length: 16 }, (_, index) => word(L.GPR + index * 8)),
    cr0: word(L.CR0),
    cr2: word(L.CR2),
    cr3: word(L.CR3),
    cr4: word(L.CR4),
    efer: word(L.EFER),
    segments: Array.from({ length: 6 }, (_, index) =>
      view.getUint32(L.SEG_SEL + (L.SEG_ES + index) * 4, true),
    ),
    halted: view.getUint32(L.HALTED, true) !== 0,
  };
}
