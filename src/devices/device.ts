/**
 * The contract between a device and the machine.
 *
 * Device state is data: a device keeps every register in the `StateBlock` it is given, a slice of the
 * VM's shared memory, and nothing in fields of its own. So the thread that takes an exit runs the
 * device, whichever it is, under the machine's one lock, and a snapshot is a copy of bytes.
 */

/** A device's slice of shared memory, seen as bytes, words and doubles (same bytes). */
export interface StateBlock {
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  /** Times in nanoseconds of the machine's clock; exact up to 2^53 (104 days). */
  readonly f64: Float64Array;
}

/** An interrupt wire into the machine's interrupt controllers. */
export interface InterruptLine {
  set(level: boolean): void;
}

/** What every device has. */
export interface Device {
  /** Stable, short, e.g. `uart0`. */
  readonly name: string;
  /** Power-on or reset state, as the data sheet gives it. */
  reset(): void;
}

/** A device behind ports. `size` is 1, 2 or 4; values are unsigned. Addresses are absolute. */
export interface PortDevice extends Device {
  readPort(port: number, size: number): number;
  writePort(port: number, size: number, value: number): void;
}

/** A device behind memory. `size` is 1, 2 or 4 (8-byte accesses arrive as two of 4). */
export interface MmioDevice extends Device {
  readMmio(offset: number, size: number): number;
  writeMmio(offset: number, size: number, value: number): void;
}

/** A device that wants to be called at a time. */
export interface TimedDevice extends Device {
  /** When `expire` must next be called, in nanoseconds of the machine's clock; Infinity for never. */
  deadline(): number;
  /** Called at or after `deadline()`. */
  expire(now: number): void;
}

/**
 * A view of `byteLength` bytes of shared memory as a device's state.
 * @param byteOffset a multiple of 8
 */
export function stateBlock(
  buffer: SharedArrayBuffer,
  byteOffset: number,
  byteLength: number,
): StateBlock {
  return {
    u8: new Uint8Array(buffer, byteOffset, byteLength),
    u32: new Uint32Array(buffer, byteOffset, byteLength >>> 2),
    f64: new Float64Array(buffer, byteOffset, byteLength >>> 3),
  };
}
