/** A vCPU's registers between KVM's structures and Pando's. KVM API documentation, 4.11 to 4.14. */
import type { EntryState, SegmentState } from '../../arch/entry-state.js';
import type { VcpuState } from '../../arch/vcpu-state.js';
import { STRUCT, VALUE } from './api.js';
import { kvmStruct } from './system.js';

const REGS = STRUCT.kvm_regs;
const SREGS = STRUCT.kvm_sregs;
const SEGMENT = STRUCT.kvm_segment;

/** Offsets of the general registers in encoding order. */
const GENERAL = [
  ...[REGS.rax, REGS.rcx, REGS.rdx, REGS.rbx, REGS.rsp, REGS.rbp, REGS.rsi, REGS.rdi],
  ...[REGS.r8, REGS.r9, REGS.r10, REGS.r11, REGS.r12, REGS.r13, REGS.r14, REGS.r15],
];
const SEGMENTS = [SREGS.es, SREGS.cs, SREGS.ss, SREGS.ds, SREGS.fs, SREGS.gs];

/** Puts a vCPU that has just been made, or restored to that, into an entry state. */
export function writeEntryState(fd: number, entry: EntryState): void {
  const regs = new Uint8Array(REGS.size);
  const regsView = new DataView(regs.buffer);
  regsView.setBigUint64(REGS.rip, BigInt(entry.eip), true);
  regsView.setBigUint64(REGS.rbx, BigInt(entry.ebx), true);
  regsView.setBigUint64(REGS.rflags, BigInt(entry.eflags), true);
  const sregs = new Uint8Array(SREGS.size);
  kvmStruct(fd, 'KVM_GET_SREGS', sregs);
  const view = new DataView(sregs.buffer);
  for (const name of ['cs', 'ds', 'es', 'ss', 'fs', 'gs', 'tr'] as const) {
    writeSegment(view, SREGS[name], entry[name]);
  }
  writeSegment(view, SREGS.ldt, entry.ldtr);
  for (const [at, table] of [
    [SREGS.gdt, entry.gdtr],
    [SREGS.idt, entry.idtr],
  ] as const) {
    view.setBigUint64(at + STRUCT.kvm_dtable.base, BigInt(table.base), true);
    view.setUint16(at + STRUCT.kvm_dtable.limit, table.limit, true);
  }
  view.setBigUint64(SREGS.cr0, BigInt(entry.cr0), true);
  view.setBigUint64(SREGS.cr2, 0n, true);
  view.setBigUint64(SREGS.cr3, 0n, true);
  view.setBigUint64(SREGS.cr4, BigInt(entry.cr4), true);
  view.setBigUint64(SREGS.efer, BigInt(entry.efer), true);
  kvmStruct(fd, 'KVM_SET_SREGS', sregs);
  kvmStruct(fd, 'KVM_SET_REGS', regs);
}

function writeSegment(view: DataView, at: number, segment: SegmentState): void {
  view.setBigUint64(at + SEGMENT.base, BigInt(segment.base), true);
  view.setUint32(at + SEGMENT.limit, segment.limit, true);
  view.setUint16(at + SEGMENT.selector, segment.selector, true);
  view.setUint8(at + SEGMENT.type, segment.type);
  view.setUint8(at + SEGMENT.present, segment.present);
  view.setUint8(at + SEGMENT.dpl, segment.dpl);
  view.setUint8(at + SEGMENT.db, segment.db);
  view.setUint8(at + SEGMENT.s, segment.s);
  view.setUint8(at + SEGMENT.l, segment.l);
  view.setUint8(at + SEGMENT.g, segment.g);
  view.setUint8(at + SEGMENT.avl, segment.avl);
  view.setUint8(at + SEGMENT.unusable, segment.present === 0 ? 1 : 0);
}

/** Reads the registers; waits while another thread is in KVM_RUN with the same vCPU. */
export function readVcpuState(fd: number): VcpuState {
  const regs = new Uint8Array(REGS.size);
  const sregs = new Uint8Array(SREGS.size);
  const mp = new Uint8Array(STRUCT.kvm_mp_state.size);
  kvmStruct(fd, 'KVM_GET_REGS', regs);
  kvmStruct(fd, 'KVM_GET_SREGS', sregs);
  kvmStruct(fd, 'KVM_GET_MP_STATE', mp);
  const regsView = new DataView(regs.buffer);
  const view = new DataView(sregs.buffer);
  const control = (offset: number): bigint => view.getBigUint64(offset, true);
  return {
    rip: regsView.getBigUint64(REGS.rip, true),
    rflags: regsView.getBigUint64(REGS.rflags, true),
    gpr: GENERAL.map((offset) => regsView.getBigUint64(offset, true)),
    cr0: control(SREGS.cr0),
    cr2: control(SREGS.cr2),
    cr3: control(SREGS.cr3),
    cr4: control(SREGS.cr4),
    efer: control(SREGS.efer),
    segments: SEGMENTS.map((at) => view.getUint16(at + SEGMENT.selector, true)),
    halted: new DataView(mp.buffer).getUint32(0, true) === VALUE.KVM_MP_STATE_HALTED,
  };
}
