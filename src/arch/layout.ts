/**
 * Every guest physical address that Pando chooses, in one place.
 * Constraints: PVH start_info's memory map and module list below 1 GiB, command line and initrd below
 * 4 GiB (Xen "PVH" document, x86/HVM direct boot ABI); the legacy hole 0xa0000–0xfffff is not RAM.
 */

export const PAGE_SIZE = 0x1000;

/** Tables for the entry live in the first 640 KiB, which no kernel image occupies. */
export const START_INFO_ADDRESS = 0x6000;
export const MODULE_LIST_ADDRESS = 0x6100;
export const MEMORY_MAP_ADDRESS = 0x7000;
export const COMMAND_LINE_ADDRESS = 0x8000;
/** Room for the command line, terminating zero included (x86 COMMAND_LINE_SIZE is 2048). */
export const COMMAND_LINE_LIMIT = 2048;
/** GDT that the entry state refers to. */
export const ENTRY_GDT_ADDRESS = 0x5000;
/** The 32-bit TSS of the entry state: the PVH document puts it at 0. */
export const ENTRY_TSS_ADDRESS = 0;

/** End of low RAM: 640 KiB, less the page of the generation ID, which would be an EBDA's. */
export const LOW_RAM_END = 0x9f000;
/** The generation ID's 16 bytes, in a reserved page of its own (boot/acpi/vm-generation-id.ts). */
export const VM_GENERATION_ID_ADDRESS = 0x9f000;
export const LEGACY_HOLE_START = 0xa0000;
/** ACPI tables, in the BIOS area: the RSDP is found there by scanning as well as through start_info. */
export const ACPI_TABLES_ADDRESS = 0xe0000;
export const ACPI_TABLES_LIMIT = 0x20000;
export const HIGH_RAM_START = 0x100000;

/** RAM below the 32-bit MMIO hole ends here at most. */
export const LOW_MEMORY_LIMIT = 0xc0000000;
export const HIGH_MEMORY_START = 0x1_0000_0000;

export const IOAPIC_ADDRESS = 0xfec00000;
export const LOCAL_APIC_ADDRESS = 0xfee00000;

/** Registers of virtio devices, a page each, below the I/O APIC; the DSDT names them. */
export const VIRTIO_MMIO_ADDRESS = 0xfeb00000;
export const VIRTIO_MMIO_STRIDE = 0x1000;
/** Their interrupt inputs: those that nothing else has. */
export const VIRTIO_INPUTS = [5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22] as const;

/** ACPI fixed hardware, in port space: PM1a event and control block, PM timer, general-purpose events. */
export const PM1A_EVENT_PORT = 0x600;
export const PM1A_CONTROL_PORT = 0x604;
export const PM_TIMER_PORT = 0x608;
export const GPE0_PORT = 0x60c;
/** The general-purpose event that says that the generation ID has changed. */
export const VM_GENERATION_GPE = 0;
/** SLP_TYPx value that the DSDT gives for S5 (soft off). */
export const SLEEP_TYPE_S5 = 5;
/** System control interrupt: ISA interrupt 9, level triggered. */
export const SCI_IRQ = 9;

/** Reset control register, and what the FADT tells software to write there. */
export const RESET_CONTROL_PORT = 0xcf9;
export const RESET_CONTROL_VALUE = 0x06;
/** The timer's I/O APIC input: 0 is where a PC has the 8259A; the MADT says so. */
export const TIMER_GSI = 2;
/** Inputs of the I/O APIC. */
export const INTERRUPT_INPUTS = 24;
/** CMOS index of the century, which the FADT names. */
export const RTC_CENTURY = 0x32;

/** Boot-stage port: a one-byte write names a stage (6 = start_kernel, 7 = user space). */
export const BOOT_STAGE_PORT = 0xf4;
/** A one-byte write is what the guest's program has ended with; the last one counts at power-off. */
export const GUEST_STATUS_PORT = 0xf6;
