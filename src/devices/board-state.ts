/**
 * Where each device's state lies in the board's slice of shared memory. A snapshot is a copy of these
 * bytes, so the table is the format: offsets change only together with it.
 */
import { ACPI_PM_STATE_BYTES } from './acpi-pm.js';
import { RING_HEADER_BYTES } from './byte-ring.js';
import { I8042_STATE_BYTES } from './i8042.js';
import { IOAPIC_STATE_BYTES } from './ioapic.js';
import { LOCAL_APIC_STATE_BYTES } from './local-apic.js';
import { PIC_STATE_BYTES } from './pic8259.js';
import { PIT_STATE_BYTES } from './pit8254.js';
import { RESET_CONTROL_STATE_BYTES } from './reset-control.js';
import { RTC_STATE_BYTES } from './rtc.js';
import { SYSTEM_PORT_STATE_BYTES } from './system-ports.js';
import { UART_STATE_BYTES } from './uart16550.js';

/** Local APIC ids are 8 bits wide in xAPIC mode, and the slice ends at 64 KiB. */
export const MAX_VCPUS = 240;

/** Offsets and sizes in bytes; `localApics` repeats once per vCPU. */
export const BOARD_STATE = {
  lock: { offset: 0x000, bytes: 64 },
  systemControl: { offset: 0x040, bytes: SYSTEM_PORT_STATE_BYTES },
  diagnostic: { offset: 0x050, bytes: SYSTEM_PORT_STATE_BYTES },
  bootStage: { offset: 0x060, bytes: SYSTEM_PORT_STATE_BYTES },
  i8042: { offset: 0x070, bytes: I8042_STATE_BYTES },
  resetControl: { offset: 0x080, bytes: RESET_CONTROL_STATE_BYTES },
  acpiPm: { offset: 0x0a0, bytes: ACPI_PM_STATE_BYTES },
  /** Levels of the ISA inputs of interrupt controllers outside the board, a byte each. */
  externalLines: { offset: 0x0c0, bytes: 16 },
  uart0: { offset: 0x100, bytes: UART_STATE_BYTES },
  pic: { offset: 0x180, bytes: PIC_STATE_BYTES },
  pit: { offset: 0x200, bytes: PIT_STATE_BYTES },
  ioapic: { offset: 0x300, bytes: IOAPIC_STATE_BYTES },
  rtc: { offset: 0x400, bytes: RTC_STATE_BYTES },
  localApics: { offset: 0x1000, bytes: LOCAL_APIC_STATE_BYTES },
} as const;

/** Bytes of device state, rings excluded. */
export const BOARD_STATE_BYTES = 0x10000;

/** The console's rings, behind the state: offsets of the headers, capacities of the data. */
export const SERIAL_RINGS = {
  input: { offset: BOARD_STATE_BYTES, capacity: 0x1000 },
  output: { offset: BOARD_STATE_BYTES + RING_HEADER_BYTES + 0x1000, capacity: 0x10000 },
} as const;

/** Bytes of shared memory that a board needs. */
export const BOARD_TOTAL_BYTES =
  SERIAL_RINGS.output.offset + RING_HEADER_BYTES + SERIAL_RINGS.output.capacity;
