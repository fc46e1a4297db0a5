/**
 * What a board is made from, and what it tells the machine around it.
 */
import type { Clock } from '../arch/clock.js';
import type { WallClock } from './rtc.js';

/** What the board tells the machine; all optional. */
export interface BoardHooks {
  /** The guest switched the machine off (S5). */
  onPowerOff?(): void;
  /** The guest asked for a reset; the machine stops its vCPUs, then calls `reset`. */
  onReset?(): void;
  /** The guest wrote to a boot-stage port; `time` is guest nanoseconds. */
  onBootStage?(value: number, time: number, port: number): void;
  /** A vCPU has an interrupt, NMI, INIT or SIPI to take, or must look again. */
  wake?(vcpu: number): void;
}

/** The inputs of interrupt controllers outside the board. */
export interface InterruptLines {
  /** @param irq ISA interrupt, 0–15 */
  set(irq: number, level: boolean): void;
}

export interface BoardOptions {
  /** At `byteOffset` (a multiple of 64), BOARD_TOTAL_BYTES bytes that start as zeros. */
  readonly state: SharedArrayBuffer;
  readonly byteOffset: number;
  /** 1 to MAX_VCPUS. */
  readonly vcpus: number;
  readonly clock: Clock;
  /** Hertz of the time-stamp counter, which counts from guest time 0. */
  readonly tscFrequency: number;
  readonly wallClock: WallClock;
  /** Width of guest physical addresses; 40 when missing. */
  readonly physicalAddressBits?: number;
  /**
   * Given when somebody else has the interrupt controllers and the timers that come with them (8259A,
   * I/O APIC, local APICs, 8254, port 61h): told of each change of an ISA input's level, under the
   * board's lock. The board then has none of these devices, and no vCPU asks it for interrupts.
   */
  readonly interruptLines?: InterruptLines;
  readonly hooks?: BoardHooks;
}
