/**
 * What is said when KVM cannot run a guest any further: the reason, the registers, the bytes at RIP.
 * KVM API documentation, section 5, KVM_EXIT_FAIL_ENTRY and KVM_EXIT_INTERNAL_ERROR.
 */
import { GENERAL_REGISTERS, type VcpuState } from '../../arch/vcpu-state.js';
import { PandoError } from '../../error.js';
import { ioctlBytes } from '../../host/ioctl.js';
import { viewOf } from '../../host/libc.js';
import { EXIT, INTERNAL_ERROR, KVM, nameOf, STRUCT } from './api.js';
import { memorySlots } from './kvm-vm.js';
import { readVcpuState } from './registers.js';

const RUN = STRUCT.kvm_run;
const PAGE = 4096n;
/** The longest instruction (Intel SDM vol. 2, 2.3.11). */
const INSTRUCTION_BYTES = 15;
/** kvm_run.emulation_failure.flags: the instruction's bytes follow. */
const HAS_INSTRUCTION_BYTES = 1n;

/** Reads guest memory: as many of `length` bytes as are RAM from `address` on. */
export type GuestBytes = (address: number, length: number) => Uint8Array;

/** Reads RAM that is one run of host memory, as `memorySlots` gives it to the guest. */
export function guestBytesAt(hostAddress: bigint, ramBytes: number): GuestBytes {
  const slots = memorySlots(hostAddress, ramBytes);
  return (address, length) => {
    for (const { guestAddress, hostAddress: start, length: bytes } of slots) {
      const offset = address - guestAddress;
      if (offset < 0 || offset >= bytes) continue;
      return viewOf(start + BigInt(offset), Math.min(length, bytes - offset)).slice();
    }
    return new Uint8Array(0);
  };
}

/** The error for the exit that `run` describes. */
export function exitError(fd: number, vcpu: number, run: DataView, guest: GuestBytes): PandoError {
  const reason = run.getUint32(RUN.exit_reason, true);
  const state = readVcpuState(fd);
  const where = `vCPU ${vcpu}: ${describeState(state)}; bytes at RIP: ${bytesAtRip(fd, state, run, guest)}`;
  switch (reason) {
    case EXIT.KVM_EXIT_FAIL_ENTRY: {
      const hardware = run.getBigUint64(RUN['fail_entry.hardware_entry_failure_reason'], true);
      return new PandoError(
        'KVM_FAIL_ENTRY',
        `the processor refused to enter the guest, reason 0x${hardware.toString(16)}; ${where}`,
        { remedy: 'use --accel wasm; the host kernel log may say more' },
      );
    }
    case EXIT.KVM_EXIT_INTERNAL_ERROR: {
      const suberror = run.getUint32(RUN['internal.suberror'], true);
      const emulation = suberror === INTERNAL_ERROR.KVM_INTERNAL_ERROR_EMULATION;
      return new PandoError(
        emulation ? 'KVM_EMULATION_FAILED' : 'KVM_INTERNAL_ERROR',
        `${nameOf(INTERNAL_ERROR, suberror)}${emulation ? '' : `, data ${internalData(run)}`}; ${where}`,
        {
          remedy: emulation
            ? 'the host emulates this instruction and cannot: use --accel wasm, or, if it belongs to a feature, a CPU model without that (--cpu v1, or --cpu host,-FEATURE)'
            : 'use --accel wasm; the host kernel log may say more',
        },
      );
    }
    default:
      return new PandoError('KVM_EXIT_UNEXPECTED', `${nameOf(EXIT, reason)}; ${where}`, {
        remedy: 'use --accel wasm',
      });
  }
}

function internalData(run: DataView): string {
  const count = Math.min(16, run.getUint32(RUN['internal.ndata'], true));
  return Array.from({ length: count }, (_, i) =>
    run.getBigUint64(RUN['internal.data'] + i * 8, true).toString(16),
  ).join(' ');
}

/** Registers in one line. */
export function describeState(state: VcpuState): string {
  const hex = (value: bigint): string => value.toString(16);
  const general = GENERAL_REGISTERS.map((name, i) => `${name}=${hex(state.gpr[i] ?? 0n)}`);
  return [
    `rip=${hex(state.rip)} rflags=${hex(state.rflags)} cs=${(state.segments[1] ?? 0).toString(16)}`,
    ...general,
    `cr0=${hex(state.cr0)} cr2=${hex(state.cr2)} cr3=${hex(state.cr3)} cr4=${hex(state.cr4)}`,
    `efer=${hex(state.efer)}`,
  ].join(' ');
}

function bytesAtRip(fd: number, state: VcpuState, run: DataView, guest: GuestBytes): string {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const reported =
    run.getUint32(RUN.exit_reason, true) === EXIT.KVM_EXIT_INTERNAL_ERROR &&
    run.getUint32(RUN['internal.suberror'], true) === INTERNAL_ERROR.KVM_INTERNAL_ERROR_EMULATION &&
    run.getUint32(RUN['internal.ndata'], true) >= 3 &&
    (run.getBigUint64(RUN['emulation_failure.flags'], true) & HAS_INSTRUCTION_BYTES) !== 0n;
  if (reported) {
    const size = Math.min(INSTRUCTION_BYTES, run.getUint8(RUN['emulation_failure.insn_size']));
    const at = run.byteOffset + RUN['emulation_failure.insn_bytes'];
    return text(new Uint8Array(run.buffer, at, size));
  }
  const translation = new Uint8Array(STRUCT.kvm_translation.size);
  const view = new DataView(translation.buffer);
  view.setBigUint64(STRUCT.kvm_translation.linear_address, state.rip, true);
  if (ioctlBytes(fd, KVM.KVM_TRANSLATE, translation) < 0) return 'not mapped';
  if (view.getUint8(STRUCT.kvm_translation.valid) === 0) return 'not mapped';
  const address = Number(view.getBigUint64(STRUCT.kvm_translation.physical_address, true));
  const toPageEnd = Number(PAGE - (state.rip % PAGE));
  const bytes = guest(address, Math.min(INSTRUCTION_BYTES, toPageEnd));
  return bytes.length === 0 ? 'not RAM' : text(bytes);
}
