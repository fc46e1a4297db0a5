/**
 * The programmable interval timer: an 8254 with the wiring of a PC.
 *
 * Source: Intel 8254 data sheet (231164-005): control word, read-back command, counter latch command,
 * "Mode definitions" 0–5, "Gate pin operations". Counter 0 drives IRQ 0, counter 2 the speaker, gated
 * and read through port 61h; the gates of 0 and 1 are tied high (IBM PC/AT technical reference).
 *
 * Nothing ticks: a counter keeps the tick at which its counting element was loaded, and what it holds
 * and drives at any time follows from that. Each access reads the clock once, and first delivers the
 * edge of counter 0 that is due by then: programming a counter must not forget it.
 */
import type { Clock } from '../arch/clock.js';
import type { InterruptLine, PortDevice, StateBlock, TimedDevice } from './device.js';
import { PIT_RATE } from './rate.js';

/** Bytes of state. */
export const PIT_STATE_BYTES = 256;

export const PIT_PORT = 0x40;

// Control word
const CONTROL_SELECT_SHIFT = 6;
const CONTROL_READ_BACK = 3;
const CONTROL_ACCESS_SHIFT = 4;
const CONTROL_BCD = 0x01;

// Read-back command; its two upper bits are active low.
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;

// Access, control word bits 5–4
const ACCESS_LATCH = 0;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const ACCESS_BOTH = 3;

// Status byte
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;

// State words of one counter.
const CONTROL = 0;
/** The count register as written, 0 standing for the largest count. */
const RELOAD = 1;
/** What the counting element was loaded with, 1–65536. */
const LOADED = 2;
const COUNTING = 3;
/** A count was written that takes effect at the end of the period. */
const RELOAD_PENDING = 4;
const WRITE_HIGH_NEXT = 5;
const READ_HIGH_NEXT = 6;
const LATCHED = 7;
const LATCH = 8;
const STATUS_LATCHED = 9;
const STATUS = 10;
const GATE = 11;
/** First byte of a two-byte count, until the second comes. */
const LOW_BYTE = 12;
const COUNTER_WORDS = 16;
// State doubles of one counter, after the words of all three.
const COUNTERS = 3;
const DOUBLES = (COUNTERS * COUNTER_WORDS * 4) / 8;
/** Tick at which the counting element was loaded. */
const START = 0;
/** Ticks counted when the gate fell. */
const FROZEN = 1;
const COUNTER_DOUBLES = 2;
/** Tick of the next rising edge of counter 0's output. */
const NEXT_EDGE = DOUBLES + COUNTERS * COUNTER_DOUBLES;

function fromBcd(value: number): number {
  return (
    (value >>> 12) * 1000 + ((value >>> 8) & 15) * 100 + ((value >>> 4) & 15) * 10 + (value & 15)
  );
}

function toBcd(value: number): number {
  return (
    (Math.floor(value / 1000) << 12) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 10) % 10) << 4) |
    (value % 10)
  );
}

export class Pit8254 implements PortDevice, TimedDevice {
  readonly name = 'pit';
  readonly #u32: Uint32Array;
  readonly #f64: Float64Array;
  readonly #clock: Clock;
  readonly #irq: InterruptLine;

  /** @param irq driven by the output of counter 0 */
  constructor(state: StateBlock, clock: Clock, irq: InterruptLine) {
    this.#u32 = state.u32;
    this.#f64 = state.f64;
    this.#clock = clock;
    this.#irq = irq;
  }

  reset(): void {
    this.#u32.fill(0, 0, COUNTERS * COUNTER_WORDS);
    this.#f64.fill(0, DOUBLES, NEXT_EDGE);
    this.#f64[NEXT_EDGE] = Number.POSITIVE_INFINITY;
    this.#u32[GATE] = 1;
    this.#u32[COUNTER_WORDS + GATE] = 1;
    this.#irq.set(false);
  }

  readPort(port: number): number {
    const counter = port - PIT_PORT;
    // The control word register cannot be read; its buffers stay in three-state.
    if (counter >= COUNTERS) return 0xff;
    const tick = this.#catchUp();
    const c = counter * COUNTER_WORDS;
    if (this.#u32[c + STATUS_LATCHED] !== 0) {
      this.#u32[c + STATUS_LATCHED] = 0;
      return this.#u32[c + STATUS]!;
    }
    const latched = this.#u32[c + LATCHED] !== 0;
    const count = latched ? this.#u32[c + LATCH]! : this.#count(counter, tick);
    const access = this.#access(c);
    const high =
      access === ACCESS_HIGH || (access === ACCESS_BOTH && this.#u32[c + READ_HIGH_NEXT] !== 0);
    if (access === ACCESS_BOTH) this.#u32[c + READ_HIGH_NEXT] = high ? 0 : 1;
    if (high || access === ACCESS_LOW) this.#u32[c + LATCHED] = 0;
    return high ? count >>> 8 : count & 0xff;
  }

  writePort(port: number, _size: number, value: number): void {
    const tick = this.#catchUp();
    const counter = port - PIT_PORT;
    if (counter < COUNTERS) this.#writeCount(counter, value, tick);
    else this.#writeControl(value, tick);
    this.#schedule(tick);
  }

  /** The level of a counter's OUT pin. */
  output(counter: number): boolean {
    const tick = this.#catchUp();
    this.#settle(counter, tick);
    return this.#out(counter, tick);
  }

  /** Drives a counter's GATE pin; on a PC only counter 2's is not tied high. */
  setGate(counter: number, level: boolean): void {
    const c = counter * COUNTER_WORDS;
    const d = DOUBLES + counter * COUNTER_DOUBLES;
    if ((this.#u32[c + GATE] !== 0) === level) return;
    const tick = this.#catchUp();
    this.#settle(counter, tick);
    const mode = this.#mode(c);
    if (level) {
      this.#u32[c + GATE] = 1;
      if (mode === 0 || mode === 4) this.#f64[d + START] = tick - this.#f64[d + FROZEN]!;
      else if (this.#u32[c + COUNTING] !== 0 || this.#u32[c + RELOAD_PENDING] !== 0)
        this.#load(counter, tick);
    } else {
      this.#f64[d + FROZEN] = Math.max(0, tick - this.#f64[d + START]!);
      this.#u32[c + GATE] = 0;
    }
    this.#schedule(tick);
  }

  deadline(): number {
    const edge = this.#f64[NEXT_EDGE]!;
    return edge === Number.POSITIVE_INFINITY ? edge : PIT_RATE.timeOf(edge);
  }

  expire(now: number): void {
    this.#deliver(PIT_RATE.ticksAt(now));
  }

  /** Delivers what is due by now; returns the tick that it is, for all of one access. */
  #catchUp(): number {
    const tick = PIT_RATE.ticksAt(this.#clock.now());
    this.#deliver(tick);
    return tick;
  }

  /** Raises IRQ 0 when counter 0's output has risen by `tick`. */
  #deliver(tick: number): void {
    if (tick < this.#f64[NEXT_EDGE]!) return;
    // The wire is left high until just before the next edge: IRQ 0 looks at nothing but edges, and a
    // host that comes late must not turn the tick into a request that was withdrawn.
    this.#irq.set(false);
    this.#irq.set(true);
    this.#settle(0, tick);
    this.#f64[NEXT_EDGE] = this.#nextRise(tick);
  }

  #access(c: number): number {
    return (this.#u32[c + CONTROL]! >>> CONTROL_ACCESS_SHIFT) & 3;
  }

  /** 0–5; the data sheet makes the mode bits 110 and 111 the same as 010 and 011. */
  #mode(c: number): number {
    const mode = (this.#u32[c + CONTROL]! >>> 1) & 7;
    return mode > 5 ? mode - 4 : mode;
  }

  #modulus(c: number): number {
    return (this.#u32[c + CONTROL]! & CONTROL_BCD) !== 0 ? 10000 : 0x10000;
  }

  /** The tick whose end loads the counting element, one clock after the write or trigger. */
  #load(counter: number, tick: number): void {
    const c = counter * COUNTER_WORDS;
    const reload = this.#u32[c + RELOAD]!;
    const count = (this.#u32[c + CONTROL]! & CONTROL_BCD) !== 0 ? fromBcd(reload) : reload;
    this.#u32[c + LOADED] = count === 0 ? this.#modulus(c) : count;
    this.#u32[c + COUNTING] = 1;
    this.#u32[c + RELOAD_PENDING] = 0;
    this.#f64[DOUBLES + counter * COUNTER_DOUBLES + START] = tick + 1;
    this.#f64[DOUBLES + counter * COUNTER_DOUBLES + FROZEN] = 0;
  }

  #elapsed(counter: number, tick: number): number {
    const d = DOUBLES + counter * COUNTER_DOUBLES;
    const mode = this.#mode(counter * COUNTER_WORDS);
    // In modes 1 and 5 the gate only triggers, it does not stop the count.
    if (this.#u32[counter * COUNTER_WORDS + GATE] === 0 && mode !== 1 && mode !== 5) {
      return this.#f64[d + FROZEN]!;
    }
    return Math.max(0, tick - this.#f64[d + START]!);
  }

  /** Lets a count written in mode 2 or 3 take effect once the period under way has ended. */
  #settle(counter: number, tick: number): void {
    const c = counter * COUNTER_WORDS;
    if (this.#u32[c + RELOAD_PENDING] === 0 || this.#u32[c + COUNTING] === 0) return;
    const mode = this.#mode(c);
    if (mode !== 2 && mode !== 3) return;
    const d = DOUBLES + counter * COUNTER_DOUBLES;
    if (this.#elapsed(counter, tick) < this.#u32[c + LOADED]!) return;
    this.#load(counter, this.#f64[d + START]! + this.#u32[c + LOADED]! - 1);
  }

  #out(counter: number, tick: number): boolean {
    const c = counter * COUNTER_WORDS;
    const mode = this.#mode(c);
    const loaded = this.#u32[c + LOADED]!;
    const elapsed = this.#elapsed(counter, tick);
    const counting = this.#u32[c + COUNTING] !== 0;
    switch (mode) {
      case 0:
        return counting && elapsed >= loaded;
      case 1:
        return !counting || elapsed >= loaded;
      case 2:
        if (!counting || this.#u32[c + GATE] === 0) return true;
        return elapsed % loaded !== loaded - 1;
      case 3:
        if (!counting || this.#u32[c + GATE] === 0) return true;
        return elapsed % loaded < Math.ceil(loaded / 2);
      default:
        return !counting || elapsed !== loaded;
    }
  }

  /** The counting element's content as it reads: binary or BCD. */
  #count(counter: number, tick: number): number {
    this.#settle(counter, tick);
    const c = counter * COUNTER_WORDS;
    const modulus = this.#modulus(c);
    const bcd = modulus === 10000;
    if (this.#u32[c + COUNTING] === 0) return this.#u32[c + RELOAD]!;
    const loaded = this.#u32[c + LOADED]!;
    const elapsed = this.#elapsed(counter, tick);
    let count: number;
    switch (this.#mode(c)) {
      case 2:
        count = loaded - (elapsed % loaded);
        break;
      case 3: {
        // Counts down by two, in each half anew; an odd count starts from the even number below.
        const position = elapsed % loaded;
        const high = Math.ceil(loaded / 2);
        count = (loaded & ~1) - 2 * (position < high ? position : position - high);
        break;
      }
      default:
        count = (((loaded - elapsed) % modulus) + modulus) % modulus;
    }
    return bcd ? toBcd(count % modulus) : count & 0xffff;
  }

  #writeControl(value: number, tick: number): void {
    const select = value >>> CONTROL_SELECT_SHIFT;
    if (select === CONTROL_READ_BACK) {
      for (let counter = 0; counter < COUNTERS; counter += 1) {
        if ((value & (2 << counter)) === 0) continue;
        if ((value & READ_BACK_NO_STATUS) === 0) this.#latchStatus(counter, tick);
        if ((value & READ_BACK_NO_COUNT) === 0) this.#latchCount(counter, tick);
      }
      return;
    }
    const c = select * COUNTER_WORDS;
    if (((value >>> CONTROL_ACCESS_SHIFT) & 3) === ACCESS_LATCH) {
      this.#latchCount(select, tick);
      return;
    }
    this.#u32[c + CONTROL] = value & 0x3f;
    this.#u32[c + COUNTING] = 0;
    this.#u32[c + RELOAD_PENDING] = 0;
    this.#u32[c + RELOAD] = 0;
    this.#u32[c + WRITE_HIGH_NEXT] = 0;
    this.#u32[c + READ_HIGH_NEXT] = 0;
    this.#u32[c + LATCHED] = 0;
    this.#u32[c + STATUS_LATCHED] = 0;
  }

  #latchStatus(counter: number, tick: number): void {
    const c = counter * COUNTER_WORDS;
    if (this.#u32[c + STATUS_LATCHED] !== 0) return;
    this.#settle(counter, tick);
    const waiting = this.#u32[c + COUNTING] === 0 || this.#u32[c + RELOAD_PENDING] !== 0;
    this.#u32[c + STATUS_LATCHED] = 1;
    this.#u32[c + STATUS] =
      this.#u32[c + CONTROL]! |
      (this.#out(counter, tick) ? STATUS_OUT : 0) |
      (waiting ? STATUS_NULL_COUNT : 0);
  }

  #latchCount(counter: number, tick: number): void {
    const c = counter * COUNTER_WORDS;
    if (this.#u32[c + LATCHED] !== 0) return;
    this.#u32[c + LATCHED] = 1;
    this.#u32[c + LATCH] = this.#count(counter, tick);
  }

  #writeCount(counter: number, value: number, tick: number): void {
    const c = counter * COUNTER_WORDS;
    const access = this.#access(c);
    if (access === ACCESS_BOTH && this.#u32[c + WRITE_HIGH_NEXT] === 0) {
      this.#u32[c + LOW_BYTE] = value;
      this.#u32[c + WRITE_HIGH_NEXT] = 1;
      // Mode 0 stops counting between the two bytes, with OUT low.
      if (this.#mode(c) === 0) this.#u32[c + COUNTING] = 0;
      return;
    }
    this.#u32[c + WRITE_HIGH_NEXT] = 0;
    this.#settle(counter, tick);
    if (access === ACCESS_LOW) this.#u32[c + RELOAD] = value;
    else
      this.#u32[c + RELOAD] =
        (value << 8) | (access === ACCESS_BOTH ? this.#u32[c + LOW_BYTE]! : 0);
    const mode = this.#mode(c);
    const runs =
      mode === 2 || mode === 3 ? this.#u32[c + COUNTING] !== 0 : mode === 1 || mode === 5;
    if (runs || ((mode === 2 || mode === 3) && this.#u32[c + GATE] === 0)) {
      this.#u32[c + RELOAD_PENDING] = 1;
    } else {
      this.#load(counter, tick);
    }
  }

  /** The first tick after `tick` at which counter 0's output rises. */
  #nextRise(tick: number): number {
    if (this.#u32[COUNTING] === 0) return Number.POSITIVE_INFINITY;
    const start = this.#f64[DOUBLES + START]!;
    const loaded = this.#u32[LOADED]!;
    let rise: number;
    switch (this.#mode(0)) {
      case 0:
        rise = start + loaded;
        break;
      case 2:
      case 3:
        rise = start + loaded * (Math.floor(Math.max(0, tick - start) / loaded) + 1);
        break;
      case 4:
        rise = start + loaded + 1;
        break;
      default:
        rise = Number.POSITIVE_INFINITY;
    }
    return rise > tick ? rise : Number.POSITIVE_INFINITY;
  }

  /** After a write: the level of IRQ 0 as it is now, and when it will next rise. */
  #schedule(tick: number): void {
    this.#settle(0, tick);
    this.#f64[NEXT_EDGE] = this.#nextRise(tick);
    if (!this.#out(0, tick)) this.#irq.set(false);
  }
}
