/**
 * Where each device's state lies in the board's slice of shared memory. A saved machine is a copy of
 * these bytes, part by part, so the table is the format: a device whose state changes its meaning gets
 * a new version, and places may move.
 */
import { INTERRUPT_INPUTS } from '../arch/layout.js';
import { PandoError } from '../error.js';
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

/** Local APIC ids are 8 bits wide in xAPIC mode, and their states end at 64 KiB. */
export const MAX_VCPUS = 240;

/** How many devices a machine may declare beside those of the board. */
export const MAX_DECLARED_DEVICES = 16;

/** Bytes of state of each. */
export const DECLARED_STATE_BYTES = 0x400;

export interface BoardStatePlace {
  /** In bytes from the start of the slice, a multiple of 8. */
  readonly offset: number;
  readonly bytes: number;
  /** How many of them follow each other; one when missing. */
  readonly count?: number;
  /** Of the state's meaning; 0 for what belongs to the host and is never saved. */
  readonly version: number;
}

const INPUT_CAPACITY = 0x1000;
const OUTPUT_CAPACITY = 0x10000;

export const BOARD_STATE = {
  lock: { offset: 0x000, bytes: 64, version: 0 },
  systemControl: { offset: 0x040, bytes: SYSTEM_PORT_STATE_BYTES, version: 1 },
  diagnostic: { offset: 0x050, bytes: SYSTEM_PORT_STATE_BYTES, version: 1 },
  bootStage: { offset: 0x060, bytes: SYSTEM_PORT_STATE_BYTES, version: 1 },
  i8042: { offset: 0x070, bytes: I8042_STATE_BYTES, version: 1 },
  resetControl: { offset: 0x080, bytes: RESET_CONTROL_STATE_BYTES, version: 1 },
  acpiPm: { offset: 0x0a0, bytes: ACPI_PM_STATE_BYTES, version: 2 },
  /** Levels of the inputs of interrupt controllers outside the board, a byte each. */
  externalLines: { offset: 0x0c0, bytes: INTERRUPT_INPUTS, version: 1 },
  uart0: { offset: 0x100, bytes: UART_STATE_BYTES, version: 1 },
  pic: { offset: 0x180, bytes: PIC_STATE_BYTES, version: 1 },
  pit: { offset: 0x200, bytes: PIT_STATE_BYTES, version: 1 },
  ioapic: { offset: 0x300, bytes: IOAPIC_STATE_BYTES, version: 1 },
  rtc: { offset: 0x400, bytes: RTC_STATE_BYTES, version: 1 },
  /** A word for each declared device: its host end has been called and has not looked yet. */
  doorbells: { offset: 0x500, bytes: 4 * MAX_DECLARED_DEVICES, version: 0 },
  /** A lock for each declared device, a cache line each. */
  deviceLocks: { offset: 0x600, bytes: 64, count: MAX_DECLARED_DEVICES, version: 0 },
  localApics: { offset: 0x1000, bytes: LOCAL_APIC_STATE_BYTES, count: MAX_VCPUS, version: 1 },
  /** Console input and output: indices, then the data. */
  serialInput: { offset: 0x10000, bytes: RING_HEADER_BYTES + INPUT_CAPACITY, version: 1 },
  serialOutput: { offset: 0x11040, bytes: RING_HEADER_BYTES + OUTPUT_CAPACITY, version: 1 },
  /** Their versions are the devices' own. */
  declared: {
    offset: 0x21080,
    bytes: DECLARED_STATE_BYTES,
    count: MAX_DECLARED_DEVICES,
    version: 1,
  },
} as const satisfies Readonly<Record<string, BoardStatePlace>>;

/** Bytes of shared memory that a board needs. */
export const BOARD_TOTAL_BYTES =
  BOARD_STATE.declared.offset + DECLARED_STATE_BYTES * MAX_DECLARED_DEVICES;

/**
 * Checks that a table's places are aligned, do not overlap and end within `room` bytes.
 * @throws PandoError BOARD_STATE_OVERLAP, BOARD_STATE_TOO_SMALL
 */
export function checkStatePlaces(
  table: Readonly<Record<string, BoardStatePlace>>,
  room: number,
): void {
  let last = { name: 'the start', end: 0 };
  const places = Object.entries(table).sort(([, a], [, b]) => a.offset - b.offset);
  for (const [name, { offset, bytes, count = 1 }] of places) {
    if (offset < last.end || offset % 8 !== 0) {
      throw new PandoError(
        'BOARD_STATE_OVERLAP',
        `board state "${name}" at ${offset.toString(16)}h, after "${last.name}" which ends at ${last.end.toString(16)}h`,
        { remedy: 'give it a free place at a multiple of 8' },
      );
    }
    last = { name, end: offset + bytes * count };
  }
  if (last.end > room) {
    throw new PandoError(
      'BOARD_STATE_TOO_SMALL',
      `board state of ${last.end} bytes ("${last.name}" is its last) does not fit ${room} bytes`,
      { remedy: 'reserve BOARD_TOTAL_BYTES for the board, at a multiple of 64' },
    );
  }
}
