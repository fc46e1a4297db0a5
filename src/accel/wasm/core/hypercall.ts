/**
 * VMCALL and VMMCALL: since CPUID says "KVMKVMKVM", both are KVM's hypercall (Linux,
 * Documentation/virt/kvm/x86/hypercalls.rst). CPUID advertises no feature that has a hypercall of its own.
 */
import { GPR, RAX } from "../layout";
import { cplOf, isCode64 } from "./system-state";

const KVM_HC_VAPIC_POLL_IRQ: u64 = 1;
const KVM_HC_CLOCK_PAIRING: u64 = 9;
const KVM_EPERM: i64 = 1;
const KVM_EOPNOTSUPP: i64 = 95;
const KVM_ENOSYS: i64 = 1000;

function answer(cpu: usize, number: u64): i64 {
  if (cplOf(cpu) != 0) return -KVM_EPERM;
  switch (number) {
    // Looks for interrupts, as leaving the guest does.
    case KVM_HC_VAPIC_POLL_IRQ: return 0;
    case KVM_HC_CLOCK_PAIRING: return -KVM_EOPNOTSUPP;
    default: return -KVM_ENOSYS;
  }
}

/** Number in RAX, result in RAX; 32 bits of each outside 64-bit code. */
export function hypercall(cpu: usize): void {
  const mask: u64 = isCode64(cpu) ? u64.MAX_VALUE : 0xffffffff;
  const result = answer(cpu, load<u64>(cpu, GPR + RAX) & mask);
  store<u64>(cpu, (result as u64) & mask, GPR + RAX);
}
