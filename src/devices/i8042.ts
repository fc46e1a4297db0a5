/**
 * The keyboard controller's place: its reset line, and nothing behind it.
 *
 * Source: IBM PC/AT technical reference, "Keyboard controller" (status register, commands D1h and
 * FEh–F0h, output port bit 0 = system reset). No keyboard is attached and the FADT says that there is
 * no 8042 (IAPC_BOOT_ARCH), so operating systems do not probe it; the status shows both buffers empty,
 * so the old way to reboot (wait for an empty input buffer, write FEh) takes no time.
 */
import type { PortDevice, StateBlock } from './device.js';

/** Bytes of state. */
export const I8042_STATE_BYTES = 16;
export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;

/** Self test passed, keyboard not inhibited; output and input buffer empty. */
const STATUS_IDLE = 0x14;

const COMMAND_WRITE_OUTPUT_PORT = 0xd1;
/** F0h–FFh pulse the output port lines whose bit is 0. */
const COMMAND_PULSE = 0xf0;
const OUTPUT_NOT_RESET = 0x01;

const PENDING_COMMAND = 0;

export class I8042 implements PortDevice {
  readonly name = 'i8042';
  readonly #u32: Uint32Array;
  readonly #resetMachine: () => void;

  constructor(state: StateBlock, resetMachine: () => void) {
    this.#u32 = state.u32;
    this.#resetMachine = resetMachine;
  }

  reset(): void {
    this.#u32[PENDING_COMMAND] = 0;
  }

  readPort(port: number): number {
    return port === I8042_COMMAND_PORT ? STATUS_IDLE : 0;
  }

  writePort(port: number, _size: number, value: number): void {
    if (port === I8042_COMMAND_PORT) {
      this.#u32[PENDING_COMMAND] = value;
      if (value >= COMMAND_PULSE && (value & OUTPUT_NOT_RESET) === 0) this.#resetMachine();
      return;
    }
    const command = this.#u32[PENDING_COMMAND];
    this.#u32[PENDING_COMMAND] = 0;
    if (command === COMMAND_WRITE_OUTPUT_PORT && (value & OUTPUT_NOT_RESET) === 0) {
      this.#resetMachine();
    }
  }
}
