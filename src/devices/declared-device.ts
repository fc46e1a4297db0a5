/**
 * Devices that a machine has beside those of every board, declared before it starts: where they answer
 * in physical memory, which interrupt they have, and how each thread makes its own object over the
 * device's state.
 */
import type { Device, InterruptLine, MmioDevice, StateBlock } from './device.js';
import type { DeviceMemory } from './device-memory.js';
import type { StateLock } from './state-lock.js';

/** What a declared device is connected to, on the thread that makes it. */
export interface DeviceConnections {
  /** DECLARED_STATE_BYTES bytes that start as zeros. */
  readonly state: StateBlock;
  readonly memory: DeviceMemory;
  /** Its interrupt; to be driven under the board's lock. */
  readonly interrupt: InterruptLine;
  /** For work on guest memory that must not hold the board: never taken under the board's lock. */
  readonly lock: StateLock;
  /** Runs `call` on this thread, once it has left the board's lock. */
  afterwards(call: () => void): void;
  /** Runs `call` under the board's lock, which the caller does not hold. */
  locked(call: () => void): void;
  /** Calls the host end (BoardHooks.onDoorbell); from any thread, with or without the lock. */
  ring(): void;
}

export interface DeclaredDevice {
  /** Unique in the machine, such as `blk0`. */
  readonly name: string;
  /** Of the meaning of its state, from 1. */
  readonly version: number;
  /** Guest physical address of its registers, and their length in bytes. */
  readonly address: number;
  readonly length: number;
  /** Interrupt input, 0–23. */
  readonly gsi: number;
  make(connections: DeviceConnections): Device & MmioDevice;
}
