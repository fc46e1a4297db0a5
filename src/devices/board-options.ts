/**
 * What a board is made from, and what it tells the machine around it.
 */
import type { Clock } from '../arch/clock.js';
import type { DeclaredDevice } from './declared-device.js';
import type { DeviceMemory } from './device-memory.js';
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
  /** The host end of a declared device has something to do, and has not been told since it looked. */
  onDoorbell?(device: number): void;
}

/** Interrupt controllers outside the board. */
export interface InterruptLines {
  /** Drives an input. @param gsi 0–23; the ISA interrupts come first */
  set(gsi: number, level: boolean): void;
  /** A message to the local APICs (Intel SDM vol. 3A, 11.11). */
  message(address: bigint, data: number): void;
}

export interface BoardOptions {
  /** At `byteOffset` (a multiple of 64), BOARD_TOTAL_BYTES bytes that start as zeros. */
  readonly state: SharedArrayBuffer;
  readonly byteOffset: number;
  /** How many bytes the board may use from there; to the end of `state` when missing. */
  readonly room?: number;
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
   * I/O APIC, local APICs, 8254, port 61h): told of each change of an input's level, under the
   * board's lock. The board then has none of these devices, and no vCPU asks it for interrupts.
   */
  readonly interruptLines?: InterruptLines;
  /** Guest RAM; needed by declared devices that reach for it. */
  readonly memory?: DeviceMemory;
  /** Devices of this machine beside those that every board has; the same on each thread. */
  readonly declared?: readonly DeclaredDevice[];
  readonly hooks?: BoardHooks;
}
