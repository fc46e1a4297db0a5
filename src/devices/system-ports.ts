/**
 * The single-register ports of the system board: system control port B, the diagnostic port, and the
 * boot-stage ports.
 *
 * Source: IBM PC/AT technical reference, "System control port B" (61h: timer 2 gate, speaker data,
 * refresh detect, timer 2 output) and "Diagnostic checkpoint port" (80h).
 */

import type { Clock } from '../arch/clock.js';
import { BOOT_STAGE_PORT, GUEST_STATUS_PORT } from '../arch/layout.js';
import type { PortDevice, StateBlock } from './device.js';
import type { Pit8254 } from './pit8254.js';
import { PIT_RATE } from './rate.js';

/** Bytes of state of each of the three. */
export const SYSTEM_PORT_STATE_BYTES = 16;
export const SYSTEM_CONTROL_PORT = 0x61;
export const DIAGNOSTIC_PORT = 0x80;

// Port 61h
const TIMER2_GATE = 0x01;
const CONTROL_WRITABLE = 0x0f;
const REFRESH_DETECT = 0x10;
const TIMER2_OUT = 0x20;
/** DRAM is refreshed each time timer 1 has counted this far: about 15 µs. */
const REFRESH_TICKS = 18;

export class SystemControl implements PortDevice {
  readonly name = 'system-control';
  readonly #u32: Uint32Array;
  readonly #clock: Clock;
  readonly #pit: Pit8254;

  constructor(state: StateBlock, clock: Clock, pit: Pit8254) {
    this.#u32 = state.u32;
    this.#clock = clock;
    this.#pit = pit;
  }

  reset(): void {
    this.#u32[0] = 0;
    this.#pit.setGate(2, false);
  }

  readPort(): number {
    const refreshes = Math.floor(PIT_RATE.ticksAt(this.#clock.now()) / REFRESH_TICKS);
    return (
      this.#u32[0]! |
      (refreshes % 2 !== 0 ? REFRESH_DETECT : 0) |
      (this.#pit.output(2) ? TIMER2_OUT : 0)
    );
  }

  writePort(_port: number, _size: number, value: number): void {
    this.#u32[0] = value & CONTROL_WRITABLE;
    this.#pit.setGate(2, (value & TIMER2_GATE) !== 0);
  }
}

/** Holds the last checkpoint written; operating systems write it to pass a microsecond. */
export class DiagnosticPort implements PortDevice {
  readonly name = 'diagnostic';
  readonly #u32: Uint32Array;

  constructor(state: StateBlock) {
    this.#u32 = state.u32;
  }

  reset(): void {
    this.#u32[0] = 0;
  }

  readPort(): number {
    return this.#u32[0]!;
  }

  writePort(_port: number, _size: number, value: number): void {
    this.#u32[0] = value;
  }
}

/** Set beside the status, so that 0 is told from none. */
const STATUS_GIVEN = 0x100;

/**
 * Where a guest says how far its boot has come, and what its program has ended with; the ports are
 * write-only. The status is data of the board: it is read when the VM has ended.
 */
export class BootStagePorts implements PortDevice {
  readonly name = 'boot-stage';
  readonly #u32: Uint32Array;
  readonly #report: (value: number, alias: boolean) => void;

  /** @param report told of each value, and whether it came through the second port */
  constructor(state: StateBlock, report: (value: number, alias: boolean) => void) {
    this.#u32 = state.u32;
    this.#report = report;
  }

  reset(): void {
    this.#u32[0] = 0;
    this.#u32[1] = 0;
  }

  /** The value written last; 0 before any. */
  get last(): number {
    return this.#u32[0]!;
  }

  /** The status written last; undefined before any. */
  get status(): number | undefined {
    const value = this.#u32[1]!;
    return (value & STATUS_GIVEN) === 0 ? undefined : value & 0xff;
  }

  readPort(): number {
    return 0xff;
  }

  writePort(port: number, _size: number, value: number): void {
    if (port === GUEST_STATUS_PORT) {
      this.#u32[1] = STATUS_GIVEN | (value & 0xff);
      return;
    }
    this.#u32[0] = value;
    this.#report(value, port !== BOOT_STAGE_PORT);
  }
}
