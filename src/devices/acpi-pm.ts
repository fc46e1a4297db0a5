/**
 * ACPI fixed hardware: PM1a event and control blocks, the power management timer and general-purpose
 * event block 0.
 *
 * Source: ACPI specification 6.4, 4.8.3 PM1 event and control registers, 4.8.2.1 power management
 * timer, 4.8.4.1 general-purpose event registers.
 * The machine has no SMI command port, so it is always in ACPI mode: SCI_EN reads 1.
 */

import type { Clock } from '../arch/clock.js';
import {
  GPE0_PORT,
  PM_TIMER_PORT,
  PM1A_CONTROL_PORT,
  PM1A_EVENT_PORT,
  SLEEP_TYPE_S5,
} from '../arch/layout.js';
import type { InterruptLine, PortDevice, StateBlock, TimedDevice } from './device.js';
import { PM_TIMER_RATE } from './rate.js';

/** Bytes of state. */
export const ACPI_PM_STATE_BYTES = 32;
/** Ports from PM1A_EVENT_PORT on: event block, control block, timer, general-purpose events. */
export const ACPI_PM_PORTS = 16;

// PM1 status
const TMR_STS = 0x0001;
const GBL_STS = 0x0020;
const PWRBTN_STS = 0x0100;
const WAK_STS = 0x8000;
const STATUS_BITS = TMR_STS | GBL_STS | PWRBTN_STS | WAK_STS;

// PM1 enable
// RTC_EN can be set though the RTC wakes nothing: a guest checks that it sticks.
const RTC_EN = 0x0400;
const ENABLE_BITS = TMR_STS | GBL_STS | PWRBTN_STS | RTC_EN;

// PM1 control
const SCI_EN = 0x0001;
const SLP_TYP_SHIFT = 10;
const SLP_EN = 0x2000;
const CONTROL_KEPT = 0x1c02;

/** TMR_STS is set when the timer's highest bit changes. */
const TIMER_HALF = 0x8000_0000;

// State
const STATUS = 0;
const ENABLE = 1;
const CONTROL = 2;
/** General-purpose events: status in the low half, enable in the high half, as the ports have them. */
const GPE = 3;
/** Half-turns of the timer already turned into TMR_STS. */
const HALVES_SEEN = 2;
const TIMER_AT = 3;

export class AcpiPm implements PortDevice, TimedDevice {
  readonly name = 'acpi-pm';
  readonly #u32: Uint32Array;
  readonly #f64: Float64Array;
  readonly #clock: Clock;
  readonly #sci: InterruptLine;
  readonly #powerOff: () => void;

  constructor(state: StateBlock, clock: Clock, sci: InterruptLine, powerOff: () => void) {
    this.#u32 = state.u32;
    this.#f64 = state.f64;
    this.#clock = clock;
    this.#sci = sci;
    this.#powerOff = powerOff;
  }

  reset(): void {
    this.#u32.fill(0, STATUS, GPE + 1);
    this.#f64[HALVES_SEEN] = this.#halves(this.#clock.now());
    this.#f64[TIMER_AT] = Number.POSITIVE_INFINITY;
    this.#sci.set(false);
  }

  /** The power button: a request to the operating system, which may ignore it. */
  pressPowerButton(): void {
    this.#u32[STATUS] = this.#u32[STATUS]! | PWRBTN_STS;
    this.#update();
  }

  /** A general-purpose event, 0–15, has happened. */
  raiseEvent(event: number): void {
    this.#u32[GPE] = (this.#u32[GPE]! | (1 << event)) >>> 0;
    this.#update();
  }

  readPort(port: number, size: number): number {
    const word = this.#readWord(port & ~3);
    const value = word >>> ((port & 3) * 8);
    return size === 4 ? value : value & ((1 << (size * 8)) - 1);
  }

  writePort(port: number, size: number, value: number): void {
    // What the timer has done by now is reported before the write can clear or mask it.
    this.#update();
    for (let i = 0; i < size; i += 1) this.#writeByte(port + i, (value >>> (i * 8)) & 0xff);
    this.#update();
  }

  deadline(): number {
    return this.#f64[TIMER_AT]!;
  }

  expire(now: number): void {
    if (now >= this.#f64[TIMER_AT]!) this.#update();
  }

  #halves(now: number): number {
    return Math.floor(PM_TIMER_RATE.ticksAt(now) / TIMER_HALF);
  }

  #readWord(port: number): number {
    switch (port) {
      case PM1A_EVENT_PORT:
        this.#update();
        return (this.#u32[STATUS]! | (this.#u32[ENABLE]! << 16)) >>> 0;
      case PM1A_CONTROL_PORT:
        return this.#u32[CONTROL]! | SCI_EN;
      case PM_TIMER_PORT:
        return PM_TIMER_RATE.ticksAt(this.#clock.now()) % 0x1_0000_0000;
      case GPE0_PORT:
        return this.#u32[GPE]!;
      default:
        return 0xffffffff;
    }
  }

  #writeByte(port: number, byte: number): void {
    const u32 = this.#u32;
    switch (port) {
      case PM1A_EVENT_PORT:
        u32[STATUS] = u32[STATUS]! & ~byte;
        break;
      case PM1A_EVENT_PORT + 1:
        u32[STATUS] = u32[STATUS]! & ~(byte << 8) & STATUS_BITS;
        break;
      case PM1A_EVENT_PORT + 2:
        u32[ENABLE] = ((u32[ENABLE]! & 0xff00) | byte) & ENABLE_BITS;
        break;
      case PM1A_EVENT_PORT + 3:
        u32[ENABLE] = ((u32[ENABLE]! & 0x00ff) | (byte << 8)) & ENABLE_BITS;
        break;
      case PM1A_CONTROL_PORT:
        u32[CONTROL] = ((u32[CONTROL]! & 0xff00) | byte) & CONTROL_KEPT;
        break;
      case PM1A_CONTROL_PORT + 1: {
        const control = (u32[CONTROL]! & 0x00ff) | (byte << 8);
        u32[CONTROL] = control & CONTROL_KEPT;
        const sleeps = (control & SLP_EN) !== 0;
        if (sleeps && ((control >>> SLP_TYP_SHIFT) & 7) === SLEEP_TYPE_S5) this.#powerOff();
        break;
      }
      case GPE0_PORT:
      case GPE0_PORT + 1:
        // A status bit is cleared by writing 1.
        u32[GPE] = (u32[GPE]! & ~(byte << ((port & 1) * 8))) >>> 0;
        break;
      case GPE0_PORT + 2:
        u32[GPE] = ((u32[GPE]! & 0xff00ffff) | (byte << 16)) >>> 0;
        break;
      case GPE0_PORT + 3:
        u32[GPE] = ((u32[GPE]! & 0x00ffffff) | (byte << 24)) >>> 0;
        break;
    }
  }

  /** Accounts for the timer's turns, then drives SCI and the next deadline from the registers. */
  #update(): void {
    const now = this.#clock.now();
    const halves = this.#halves(now);
    if (halves > this.#f64[HALVES_SEEN]!) this.#u32[STATUS] = this.#u32[STATUS]! | TMR_STS;
    this.#f64[HALVES_SEEN] = halves;
    const listens = (this.#u32[ENABLE]! & ~this.#u32[STATUS]! & TMR_STS) !== 0;
    this.#f64[TIMER_AT] = listens
      ? PM_TIMER_RATE.timeOf((halves + 1) * TIMER_HALF)
      : Number.POSITIVE_INFINITY;
    const events = this.#u32[GPE]!;
    const fixed = this.#u32[STATUS]! & this.#u32[ENABLE]!;
    this.#sci.set(fixed !== 0 || (events & (events >>> 16)) !== 0);
  }
}
