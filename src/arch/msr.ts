/**
 * Model-specific registers by the names of the Intel SDM, vol. 4, chapter 2 (architectural MSRs), and
 * the paravirtual clock's of the KVM interface (Linux Documentation/virt/kvm/x86/msr.rst).
 */

export const IA32_TIME_STAMP_COUNTER = 0x10;
export const IA32_PLATFORM_ID = 0x17;
export const IA32_APIC_BASE = 0x1b;
export const IA32_FEATURE_CONTROL = 0x3a;
export const IA32_TSC_ADJUST = 0x3b;
export const IA32_SPEC_CTRL = 0x48;
export const IA32_PRED_CMD = 0x49;
export const IA32_BIOS_UPDT_TRIG = 0x79;
export const IA32_BIOS_SIGN_ID = 0x8b;
export const IA32_MTRRCAP = 0xfe;
export const IA32_ARCH_CAPABILITIES = 0x10a;
export const IA32_SYSENTER_CS = 0x174;
export const IA32_SYSENTER_ESP = 0x175;
export const IA32_SYSENTER_EIP = 0x176;
export const IA32_MCG_CAP = 0x179;
export const IA32_MCG_STATUS = 0x17a;
export const IA32_MISC_ENABLE = 0x1a0;
export const IA32_DEBUGCTL = 0x1d9;
export const IA32_MTRR_PHYSBASE0 = 0x200;
export const IA32_MTRR_FIX64K_00000 = 0x250;
export const IA32_PAT = 0x277;
export const IA32_MTRR_DEF_TYPE = 0x2ff;
export const IA32_TSC_DEADLINE = 0x6e0;

/** x2APIC registers: 800h + the xAPIC offset / 16. */
export const IA32_X2APIC_FIRST = 0x800;
export const IA32_X2APIC_APICID = 0x802;
export const IA32_X2APIC_VERSION = 0x803;
export const IA32_X2APIC_TPR = 0x808;
export const IA32_X2APIC_PPR = 0x80a;
export const IA32_X2APIC_EOI = 0x80b;
export const IA32_X2APIC_LDR = 0x80d;
export const IA32_X2APIC_SIVR = 0x80f;
export const IA32_X2APIC_ISR0 = 0x810;
export const IA32_X2APIC_TMR0 = 0x818;
export const IA32_X2APIC_IRR0 = 0x820;
export const IA32_X2APIC_ESR = 0x828;
export const IA32_X2APIC_ICR = 0x830;
export const IA32_X2APIC_LVT_TIMER = 0x832;
export const IA32_X2APIC_LVT_THERMAL = 0x833;
export const IA32_X2APIC_LVT_PMI = 0x834;
export const IA32_X2APIC_LVT_LINT0 = 0x835;
export const IA32_X2APIC_LVT_LINT1 = 0x836;
export const IA32_X2APIC_LVT_ERROR = 0x837;
export const IA32_X2APIC_INIT_COUNT = 0x838;
export const IA32_X2APIC_CUR_COUNT = 0x839;
export const IA32_X2APIC_DIV_CONF = 0x83e;
export const IA32_X2APIC_SELF_IPI = 0x83f;
export const IA32_X2APIC_LAST = 0x8ff;

export const IA32_EFER = 0xc0000080;
export const IA32_STAR = 0xc0000081;
export const IA32_LSTAR = 0xc0000082;
export const IA32_CSTAR = 0xc0000083;
export const IA32_FMASK = 0xc0000084;
export const IA32_FS_BASE = 0xc0000100;
export const IA32_GS_BASE = 0xc0000101;
export const IA32_KERNEL_GS_BASE = 0xc0000102;
export const IA32_TSC_AUX = 0xc0000103;

export const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00;
export const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;

// IA32_APIC_BASE
export const APIC_BASE_BSP = 0x100;
export const APIC_BASE_EXTD = 0x400;
export const APIC_BASE_ENABLE = 0x800;

// IA32_EFER
export const EFER_SCE = 0x001;
export const EFER_LME = 0x100;
export const EFER_LMA = 0x400;
export const EFER_NXE = 0x800;
