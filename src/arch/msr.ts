/**
 * Model-specific registers that the board has, and those that a machine on KVM sets, by the names of the
 * Intel SDM, vol. 4, chapter 2 (architectural MSRs). The wasm accelerator's own are in its core.
 */

export const IA32_TIME_STAMP_COUNTER = 0x10;
export const IA32_APIC_BASE = 0x1b;
export const IA32_MISC_ENABLE = 0x1a0;
export const IA32_TSC_DEADLINE = 0x6e0;

/** x2APIC registers: 800h + the xAPIC offset / 16. */
export const IA32_X2APIC_FIRST = 0x800;
export const IA32_X2APIC_LAST = 0x8ff;

// IA32_APIC_BASE
export const APIC_BASE_BSP = 0x100;
export const APIC_BASE_EXTD = 0x400;
export const APIC_BASE_ENABLE = 0x800;
