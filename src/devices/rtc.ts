/**
 * The real-time clock and CMOS memory: MC146818A.
 *
 * Source: Motorola MC146818A data sheet (1984): register A–D, "Update cycle" (tBUC 244 µs, update
 * 1984 µs with a 32.768 kHz time base), alarm "don't care" codes. The century byte at 32h is the PC's
 * convention, named by the FADT.
 *
 * The clock shows the host's wall clock plus the offset by which the guest has set it.
 */

import type { Clock } from '../arch/clock.js';
import { RTC_CENTURY } from '../arch/layout.js';
import type { InterruptLine, PortDevice, StateBlock, TimedDevice } from './device.js';

/** Bytes of state. */
export const RTC_STATE_BYTES = 256;
export const RTC_PORT = 0x70;

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;

// Register A
const A_UIP = 0x80;
const A_DIVIDER = 0x70;
const A_DIVIDER_32KHZ = 0x20;
const A_RATE = 0x0f;
/** 32.768 kHz time base, 1024 Hz periodic rate. */
const A_INITIAL = 0x26;

// Register B
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_SQWE = 0x08;
const B_BINARY = 0x04;
const B_24_HOURS = 0x02;

// Register C
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;

const D_VALID = 0x80;

const PM = 0x80;
/** Alarm bytes from here on match anything. */
const ALARM_ANY = 0xc0;

/** UIP is set this long before the second ends: tBUC and the update cycle. */
const UPDATE_MS = 0.244 + 1.984;
const NANOSECONDS_PER_HALF_TICK = 1e9 / 65536;
const SECONDS_PER_DAY = 86400;

// State: the 128 bytes of CMOS, then a word, then doubles.
const W_INDEX = 32;
/** Milliseconds by which the guest's clock is ahead of the host's. */
const F_OFFSET = 17;
/** Second of the guest's clock up to which updates have been accounted for. */
const F_SECOND = 18;
/** Nanosecond of the next periodic and of the next update event; Infinity when no one listens. */
const F_PERIODIC_AT = 19;
const F_UPDATE_AT = 20;
/** Nanosecond from which the next periodic flag is counted. */
const F_PERIOD_START = 21;
/** Nanosecond at which the divider chain left its reset: periods of every rate count from there. */
const F_CHAIN_START = 22;

/** The host's time of day in milliseconds since 1970-01-01 00:00 UTC. */
export type WallClock = () => number;

export class Rtc implements PortDevice, TimedDevice {
  readonly name = 'rtc';
  readonly #s: StateBlock;
  readonly #clock: Clock;
  readonly #wallClock: WallClock;
  readonly #irq: InterruptLine;

  constructor(state: StateBlock, clock: Clock, wallClock: WallClock, irq: InterruptLine) {
    this.#s = state;
    this.#clock = clock;
    this.#wallClock = wallClock;
    this.#irq = irq;
  }

  /** RESET: disables interrupts. Time and memory live on a battery, which the first reset fills. */
  reset(): void {
    const { u8, u32, f64 } = this.#s;
    if ((u8[REGISTER_D]! & D_VALID) === 0) {
      u8[REGISTER_A] = A_INITIAL;
      u8[REGISTER_B] = B_24_HOURS;
      u8[REGISTER_D] = D_VALID;
    }
    u8[REGISTER_B] = u8[REGISTER_B]! & ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    u8[REGISTER_C] = 0;
    u32[W_INDEX] = 0;
    f64[F_SECOND] = this.#currentSecond();
    f64[F_CHAIN_START] = this.#clock.now();
    f64[F_PERIOD_START] = f64[F_CHAIN_START]!;
    this.#schedule();
    this.#irq.set(false);
  }

  readPort(port: number): number {
    if (port === RTC_PORT) return 0xff;
    const index = this.#s.u32[W_INDEX]!;
    switch (index) {
      case REGISTER_A:
        return this.#s.u8[REGISTER_A]! | (this.#updateInProgress() ? A_UIP : 0);
      case REGISTER_C:
        return this.#readFlags();
      default:
        if (this.#isTime(index) && !this.#stopped()) this.#showTime();
        return this.#s.u8[index]!;
    }
  }

  writePort(port: number, _size: number, value: number): void {
    // Bit 7 of the index port masks NMI on a PC and is not part of the clock.
    if (port === RTC_PORT) this.#s.u32[W_INDEX] = value & 0x7f;
    else this.#writeRegister(this.#s.u32[W_INDEX]!, value);
  }

  deadline(): number {
    return Math.min(this.#s.f64[F_PERIODIC_AT]!, this.#s.f64[F_UPDATE_AT]!);
  }

  expire(now: number): void {
    if (now < this.deadline()) return;
    this.#catchUp();
    this.#schedule();
  }

  /** Whether the time is not being updated: SET, or the divider chain held in reset. */
  #stopped(): boolean {
    const { u8 } = this.#s;
    return (u8[REGISTER_B]! & B_SET) !== 0 || this.#chainInReset();
  }

  #chainInReset(): boolean {
    return (this.#s.u8[REGISTER_A]! & A_DIVIDER) !== A_DIVIDER_32KHZ;
  }

  #isTime(index: number): boolean {
    return (
      index === SECONDS ||
      index === MINUTES ||
      index === HOURS ||
      (index >= DAY_OF_WEEK && index <= YEAR) ||
      index === RTC_CENTURY
    );
  }

  #milliseconds(): number {
    return this.#wallClock() + this.#s.f64[F_OFFSET]!;
  }

  #currentSecond(): number {
    return Math.floor(this.#milliseconds() / 1000);
  }

  #updateInProgress(): boolean {
    if (this.#stopped()) return false;
    const intoSecond = this.#milliseconds() - this.#currentSecond() * 1000;
    return intoSecond >= 1000 - UPDATE_MS;
  }

  #periodNs(): number {
    const rate = this.#s.u8[REGISTER_A]! & A_RATE;
    if (rate === 0) return Number.POSITIVE_INFINITY;
    // Rates 1 and 2 are those of 8 and 9 with this time base.
    return 2 ** (rate < 3 ? rate + 7 : rate) * NANOSECONDS_PER_HALF_TICK;
  }

  /** The last edge of the periodic tap at `now`: taps follow the chain, whenever they are chosen. */
  #periodStart(now: number): number {
    const start = this.#s.f64[F_CHAIN_START]!;
    const period = this.#periodNs();
    return period === Number.POSITIVE_INFINITY
      ? now
      : start + Math.floor((now - start) / period) * period;
  }

  #encode(value: number): number {
    if ((this.#s.u8[REGISTER_B]! & B_BINARY) !== 0) return value;
    return (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    if ((this.#s.u8[REGISTER_B]! & B_BINARY) !== 0) return value;
    return (value >>> 4) * 10 + (value & 15);
  }

  #encodeHour(hour: number): number {
    if ((this.#s.u8[REGISTER_B]! & B_24_HOURS) !== 0) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? PM : 0);
  }

  #decodeHour(value: number): number {
    if ((this.#s.u8[REGISTER_B]! & B_24_HOURS) !== 0) return this.#decode(value);
    return (this.#decode(value & ~PM) % 12) + ((value & PM) !== 0 ? 12 : 0);
  }

  #showTime(): void {
    const { u8 } = this.#s;
    const date = new Date(this.#currentSecond() * 1000);
    u8[SECONDS] = this.#encode(date.getUTCSeconds());
    u8[MINUTES] = this.#encode(date.getUTCMinutes());
    u8[HOURS] = this.#encodeHour(date.getUTCHours());
    u8[DAY_OF_WEEK] = this.#encode(date.getUTCDay() + 1);
    u8[DAY_OF_MONTH] = this.#encode(date.getUTCDate());
    u8[MONTH] = this.#encode(date.getUTCMonth() + 1);
    u8[YEAR] = this.#encode(date.getUTCFullYear() % 100);
    u8[RTC_CENTURY] = this.#encode(Math.floor(date.getUTCFullYear() / 100));
  }

  /** Makes the bytes in the time registers the time that it is now. */
  #setTime(): void {
    const { u8, f64 } = this.#s;
    const year = this.#decode(u8[RTC_CENTURY]!) * 100 + this.#decode(u8[YEAR]!);
    const shown = Date.UTC(
      year,
      this.#decode(u8[MONTH]!) - 1,
      this.#decode(u8[DAY_OF_MONTH]!),
      this.#decodeHour(u8[HOURS]!),
      this.#decode(u8[MINUTES]!),
      this.#decode(u8[SECONDS]!),
    );
    f64[F_OFFSET] = shown - this.#wallClock();
    f64[F_SECOND] = this.#currentSecond();
  }

  #writeRegister(index: number, value: number): void {
    const { u8, f64 } = this.#s;
    // An event that is due belongs to the registers as they are before the write.
    const now = this.#catchUp();
    switch (index) {
      case REGISTER_A: {
        const chainWasReset = this.#chainInReset();
        const wasStopped = this.#stopped();
        if (!wasStopped) this.#showTime();
        u8[REGISTER_A] = value & ~A_UIP;
        if (wasStopped && !this.#stopped()) this.#setTime();
        if (chainWasReset) f64[F_CHAIN_START] = now;
        f64[F_PERIOD_START] = this.#periodStart(now);
        break;
      }
      case REGISTER_B: {
        const wasStopped = this.#stopped();
        if (!wasStopped) this.#showTime();
        // SET clears UIE. A change of format does not convert what the registers hold.
        u8[REGISTER_B] = (value & B_SET) !== 0 ? value & ~B_UIE : value;
        if (wasStopped && !this.#stopped()) this.#setTime();
        break;
      }
      case REGISTER_C:
      case REGISTER_D:
        return;
      default:
        if (this.#isTime(index) && !this.#stopped()) {
          this.#showTime();
          u8[index] = value;
          this.#setTime();
        } else {
          u8[index] = value;
        }
    }
    this.#updateIrq();
    this.#schedule();
  }

  #readFlags(): number {
    this.#catchUp();
    const flags = this.#s.u8[REGISTER_C]!;
    this.#s.u8[REGISTER_C] = 0;
    this.#updateIrq();
    this.#schedule();
    return flags;
  }

  /** Sets the flags of all events up to now, whether or not they may interrupt; returns now. */
  #catchUp(): number {
    const { u8, f64 } = this.#s;
    const now = this.#clock.now();
    const period = this.#periodNs();
    const periods = Math.floor((now - f64[F_PERIOD_START]!) / period);
    if (periods > 0) {
      u8[REGISTER_C] = u8[REGISTER_C]! | C_PF;
      f64[F_PERIOD_START] = f64[F_PERIOD_START]! + periods * period;
    }
    const second = this.#currentSecond();
    const previous = f64[F_SECOND]!;
    f64[F_SECOND] = second;
    if (second > previous && !this.#stopped()) {
      u8[REGISTER_C] = u8[REGISTER_C]! | C_UF;
      if (this.#alarmBetween(Math.max(previous, second - SECONDS_PER_DAY), second)) {
        u8[REGISTER_C] = u8[REGISTER_C]! | C_AF;
      }
    }
    this.#updateIrq();
    return now;
  }

  /** Whether the alarm's time of day falls after `from` and not after `to`. */
  #alarmBetween(from: number, to: number): boolean {
    const { u8 } = this.#s;
    const second = u8[SECONDS_ALARM]!;
    const minute = u8[MINUTES_ALARM]!;
    const hour = u8[HOURS_ALARM]!;
    for (let time = from + 1; time <= to; time += 1) {
      const day = time % SECONDS_PER_DAY;
      if (
        (second >= ALARM_ANY || this.#decode(second) === day % 60) &&
        (minute >= ALARM_ANY || this.#decode(minute) === Math.floor(day / 60) % 60) &&
        (hour >= ALARM_ANY || this.#decodeHour(hour) === Math.floor(day / 3600))
      ) {
        return true;
      }
    }
    return false;
  }

  #schedule(): void {
    const { u8, f64 } = this.#s;
    const b = u8[REGISTER_B]!;
    f64[F_PERIODIC_AT] =
      (b & B_PIE) !== 0
        ? Math.ceil(f64[F_PERIOD_START]! + this.#periodNs())
        : Number.POSITIVE_INFINITY;
    if ((b & (B_UIE | B_AIE)) === 0 || this.#stopped()) {
      f64[F_UPDATE_AT] = Number.POSITIVE_INFINITY;
    } else {
      const left = (f64[F_SECOND]! + 1) * 1000 - this.#milliseconds();
      f64[F_UPDATE_AT] = this.#clock.now() + Math.max(1, Math.ceil(left * 1e6));
    }
  }

  #updateIrq(): void {
    const { u8 } = this.#s;
    const flags = u8[REGISTER_C]! & (C_PF | C_AF | C_UF);
    const raised = (flags & u8[REGISTER_B]!) !== 0;
    u8[REGISTER_C] = flags | (raised ? C_IRQF : 0);
    this.#irq.set(raised);
  }
}
