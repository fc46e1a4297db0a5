/**
 * The KVM interface as data: requests, capabilities, exit reasons and structures, under the names of
 * the kernel's headers (include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h). Their meaning is
 * in the kernel's "The Definitive KVM (Kernel-based Virtual Machine) API Documentation".
 * api.test.ts holds all of it against the headers where they are installed.
 */

/** Structures: size in bytes, and offsets of the fields in use. `entries` lie behind a header. */
export const STRUCT = {
  kvm_userspace_memory_region: {
    size: 32,
    slot: 0,
    flags: 4,
    guest_phys_addr: 8,
    memory_size: 16,
    userspace_addr: 24,
  },
  kvm_regs: {
    size: 144,
    rax: 0,
    rbx: 8,
    rcx: 16,
    rdx: 24,
    rsi: 32,
    rdi: 40,
    rsp: 48,
    rbp: 56,
    r8: 64,
    r9: 72,
    r10: 80,
    r11: 88,
    r12: 96,
    r13: 104,
    r14: 112,
    r15: 120,
    rip: 128,
    rflags: 136,
  },
  kvm_segment: {
    size: 24,
    base: 0,
    limit: 8,
    selector: 12,
    type: 14,
    present: 15,
    dpl: 16,
    db: 17,
    s: 18,
    l: 19,
    g: 20,
    avl: 21,
    unusable: 22,
  },
  kvm_dtable: { size: 16, base: 0, limit: 8 },
  kvm_sregs: {
    size: 312,
    cs: 0,
    ds: 24,
    es: 48,
    fs: 72,
    gs: 96,
    ss: 120,
    tr: 144,
    ldt: 168,
    gdt: 192,
    idt: 208,
    cr0: 224,
    cr2: 232,
    cr3: 240,
    cr4: 248,
    cr8: 256,
    efer: 264,
    apic_base: 272,
    interrupt_bitmap: 280,
  },
  kvm_translation: { size: 24, linear_address: 0, physical_address: 8, valid: 16 },
  kvm_pit_config: { size: 64, flags: 0 },
  kvm_irq_level: { size: 8, irq: 0, level: 4 },
  kvm_irqchip: { size: 520, chip_id: 0, chip: 8 },
  kvm_irq_routing: { size: 8, nr: 0, flags: 4, entries: 8 },
  kvm_irq_routing_entry: {
    size: 48,
    gsi: 0,
    type: 4,
    flags: 8,
    'u.irqchip.irqchip': 16,
    'u.irqchip.pin': 20,
  },
  kvm_irqfd: { size: 32, fd: 0, gsi: 4, flags: 8, resamplefd: 12 },
  kvm_msi: { size: 32, address_lo: 0, address_hi: 4, data: 8, flags: 12 },
  kvm_ioeventfd: { size: 64, datamatch: 0, addr: 8, len: 16, fd: 20, flags: 24 },
  kvm_clock_data: { size: 48, clock: 0, flags: 8, realtime: 16, host_tsc: 24 },
  kvm_msr_list: { size: 4, nmsrs: 0, indices: 4 },
  kvm_msrs: { size: 8, nmsrs: 0, entries: 8 },
  kvm_msr_entry: { size: 16, index: 0, data: 8 },
  kvm_cpuid2: { size: 8, nent: 0, entries: 8 },
  kvm_cpuid_entry2: {
    size: 40,
    function: 0,
    index: 4,
    flags: 8,
    eax: 12,
    ebx: 16,
    ecx: 20,
    edx: 24,
  },
  kvm_mp_state: { size: 4, mp_state: 0 },
  kvm_lapic_state: { size: 1024, regs: 0 },
  kvm_xsave: { size: 4096, region: 0 },
  kvm_xcrs: { size: 392, nr_xcrs: 0, xcrs: 8 },
  kvm_vcpu_events: {
    size: 64,
    'exception.injected': 0,
    'interrupt.injected': 8,
    'nmi.injected': 12,
  },
  kvm_debugregs: { size: 128, db: 0, dr6: 32, dr7: 40 },
  kvm_pit_state2: { size: 112, channels: 0, flags: 72 },
  kvm_run: {
    size: 2352,
    immediate_exit: 1,
    exit_reason: 8,
    ready_for_interrupt_injection: 12,
    if_flag: 13,
    flags: 14,
    cr8: 16,
    apic_base: 24,
    'hw.hardware_exit_reason': 32,
    'fail_entry.hardware_entry_failure_reason': 32,
    'fail_entry.cpu': 40,
    'io.direction': 32,
    'io.size': 33,
    'io.port': 34,
    'io.count': 36,
    'io.data_offset': 40,
    'mmio.phys_addr': 32,
    'mmio.data': 40,
    'mmio.len': 48,
    'mmio.is_write': 52,
    'internal.suberror': 32,
    'internal.ndata': 36,
    'internal.data': 40,
    'emulation_failure.flags': 40,
    'emulation_failure.insn_size': 48,
    'emulation_failure.insn_bytes': 49,
    'system_event.type': 32,
  },
} as const;

/* Direction bits and field positions of a request (include/uapi/asm-generic/ioctl.h). */
const WRITE = 1;
const READ = 2;
const KVMIO = 0xae;

const request = (direction: number, number: number, size: number): number =>
  direction * 2 ** 30 + size * 2 ** 16 + KVMIO * 2 ** 8 + number;
const io = (number: number): number => request(0, number, 0);
const iow = (number: number, struct: keyof typeof STRUCT): number =>
  request(WRITE, number, STRUCT[struct].size);
const ior = (number: number, struct: keyof typeof STRUCT): number =>
  request(READ, number, STRUCT[struct].size);
const iowr = (number: number, struct: keyof typeof STRUCT): number =>
  request(READ | WRITE, number, STRUCT[struct].size);

/** ioctl requests. Of /dev/kvm, of a VM, of a vCPU. */
export const KVM = {
  KVM_GET_API_VERSION: io(0x00),
  KVM_CREATE_VM: io(0x01),
  KVM_GET_MSR_INDEX_LIST: iowr(0x02, 'kvm_msr_list'),
  KVM_CHECK_EXTENSION: io(0x03),
  KVM_GET_VCPU_MMAP_SIZE: io(0x04),
  KVM_GET_SUPPORTED_CPUID: iowr(0x05, 'kvm_cpuid2'),

  KVM_CREATE_VCPU: io(0x41),
  KVM_SET_USER_MEMORY_REGION: iow(0x46, 'kvm_userspace_memory_region'),
  KVM_SET_TSS_ADDR: io(0x47),
  KVM_CREATE_IRQCHIP: io(0x60),
  KVM_IRQ_LINE: iow(0x61, 'kvm_irq_level'),
  KVM_GET_IRQCHIP: iowr(0x62, 'kvm_irqchip'),
  KVM_SET_IRQCHIP: ior(0x63, 'kvm_irqchip'),
  KVM_SET_GSI_ROUTING: iow(0x6a, 'kvm_irq_routing'),
  KVM_IRQFD: iow(0x76, 'kvm_irqfd'),
  KVM_SIGNAL_MSI: iow(0xa5, 'kvm_msi'),
  KVM_CREATE_PIT2: iow(0x77, 'kvm_pit_config'),
  KVM_IOEVENTFD: iow(0x79, 'kvm_ioeventfd'),
  KVM_SET_CLOCK: iow(0x7b, 'kvm_clock_data'),
  KVM_GET_CLOCK: ior(0x7c, 'kvm_clock_data'),
  KVM_GET_PIT2: ior(0x9f, 'kvm_pit_state2'),
  KVM_SET_PIT2: iow(0xa0, 'kvm_pit_state2'),

  KVM_RUN: io(0x80),
  KVM_GET_REGS: ior(0x81, 'kvm_regs'),
  KVM_SET_REGS: iow(0x82, 'kvm_regs'),
  KVM_GET_SREGS: ior(0x83, 'kvm_sregs'),
  KVM_SET_SREGS: iow(0x84, 'kvm_sregs'),
  KVM_TRANSLATE: iowr(0x85, 'kvm_translation'),
  KVM_GET_MSRS: iowr(0x88, 'kvm_msrs'),
  KVM_SET_MSRS: iow(0x89, 'kvm_msrs'),
  KVM_GET_LAPIC: ior(0x8e, 'kvm_lapic_state'),
  KVM_SET_LAPIC: iow(0x8f, 'kvm_lapic_state'),
  KVM_SET_CPUID2: iow(0x90, 'kvm_cpuid2'),
  KVM_GET_MP_STATE: ior(0x98, 'kvm_mp_state'),
  KVM_SET_MP_STATE: iow(0x99, 'kvm_mp_state'),
  KVM_NMI: io(0x9a),
  KVM_GET_VCPU_EVENTS: ior(0x9f, 'kvm_vcpu_events'),
  KVM_SET_VCPU_EVENTS: iow(0xa0, 'kvm_vcpu_events'),
  KVM_GET_DEBUGREGS: ior(0xa1, 'kvm_debugregs'),
  KVM_SET_DEBUGREGS: iow(0xa2, 'kvm_debugregs'),
  KVM_GET_TSC_KHZ: io(0xa3),
  KVM_GET_XSAVE: ior(0xa4, 'kvm_xsave'),
  KVM_SET_XSAVE: iow(0xa5, 'kvm_xsave'),
  KVM_GET_XCRS: ior(0xa6, 'kvm_xcrs'),
  KVM_SET_XCRS: iow(0xa7, 'kvm_xcrs'),
  KVM_KVMCLOCK_CTRL: io(0xad),
} as const;

/** What KVM_GET_API_VERSION must answer. */
export const KVM_API_VERSION = 12;

/** Extensions that KVM_CHECK_EXTENSION is asked for. */
export const CAPABILITY = {
  KVM_CAP_IRQCHIP: 0,
  KVM_CAP_USER_MEMORY: 3,
  KVM_CAP_EXT_CPUID: 7,
  KVM_CAP_NR_VCPUS: 9,
  KVM_CAP_MP_STATE: 14,
  KVM_CAP_IRQ_ROUTING: 25,
  KVM_CAP_IRQFD: 32,
  KVM_CAP_PIT2: 33,
  KVM_CAP_IOEVENTFD: 36,
  KVM_CAP_ADJUST_CLOCK: 39,
  KVM_CAP_VCPU_EVENTS: 41,
  KVM_CAP_DEBUGREGS: 50,
  KVM_CAP_XSAVE: 55,
  KVM_CAP_XCRS: 56,
  KVM_CAP_GET_TSC_KHZ: 61,
  KVM_CAP_MAX_VCPUS: 66,
  KVM_CAP_KVMCLOCK_CTRL: 76,
  KVM_CAP_TSC_DEADLINE_TIMER: 72,
  KVM_CAP_IMMEDIATE_EXIT: 136,
} as const;

/** kvm_run.exit_reason. */
export const EXIT = {
  KVM_EXIT_UNKNOWN: 0,
  KVM_EXIT_EXCEPTION: 1,
  KVM_EXIT_IO: 2,
  KVM_EXIT_HYPERCALL: 3,
  KVM_EXIT_DEBUG: 4,
  KVM_EXIT_HLT: 5,
  KVM_EXIT_MMIO: 6,
  KVM_EXIT_IRQ_WINDOW_OPEN: 7,
  KVM_EXIT_SHUTDOWN: 8,
  KVM_EXIT_FAIL_ENTRY: 9,
  KVM_EXIT_INTR: 10,
  KVM_EXIT_SET_TPR: 11,
  KVM_EXIT_TPR_ACCESS: 12,
  KVM_EXIT_NMI: 16,
  KVM_EXIT_INTERNAL_ERROR: 17,
  KVM_EXIT_SYSTEM_EVENT: 24,
  KVM_EXIT_IOAPIC_EOI: 26,
  KVM_EXIT_X86_RDMSR: 29,
  KVM_EXIT_X86_WRMSR: 30,
  KVM_EXIT_X86_BUS_LOCK: 33,
} as const;

/** kvm_run.internal.suberror. */
export const INTERNAL_ERROR = {
  KVM_INTERNAL_ERROR_EMULATION: 1,
  KVM_INTERNAL_ERROR_SIMUL_EX: 2,
  KVM_INTERNAL_ERROR_DELIVERY_EV: 3,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: 4,
} as const;

/** Other values of the interface. */
export const VALUE = {
  KVM_EXIT_IO_IN: 0,
  KVM_EXIT_IO_OUT: 1,
  KVM_PIT_SPEAKER_DUMMY: 1,
  KVM_IRQCHIP_PIC_MASTER: 0,
  KVM_IRQCHIP_PIC_SLAVE: 1,
  KVM_IRQCHIP_IOAPIC: 2,
  KVM_IRQ_ROUTING_IRQCHIP: 1,
  KVM_IRQFD_FLAG_DEASSIGN: 1,
  KVM_IOEVENTFD_FLAG_DATAMATCH: 1,
  KVM_IOEVENTFD_FLAG_PIO: 2,
  KVM_IOEVENTFD_FLAG_DEASSIGN: 4,
  KVM_MP_STATE_RUNNABLE: 0,
  KVM_MP_STATE_UNINITIALIZED: 1,
  KVM_MP_STATE_HALTED: 3,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX: 1,
} as const;

/** The name of a number in one of the tables above, for messages. */
export function nameOf(table: Readonly<Record<string, number>>, value: number): string {
  const entry = Object.entries(table).find(([, number]) => number === value);
  return entry === undefined ? `${value}` : entry[0];
}
