/**
 * The reset control register of Intel chipsets, which the FADT names as the ACPI reset register.
 *
 * Source: Intel ICH9 data sheet (316972), 13.7.5 RST_CNT (port CF9h: bit 1 SYS_RST, bit 2 RST_CPU,
 * bit 3 FULL_RST); ACPI specification 6.4, 4.8.3.6.
 */
import { RESET_CONTROL_PORT } from '../arch/layout.js';
import type { PortDevice, StateBlock } from './device.js';

/** Bytes of state. */
export const RESET_CONTROL_STATE_BYTES = 16;
/**
 * The register shares its four ports with the PCI configuration address, a dword at CF8h: only a byte
 * access reaches the register, so that probing for PCI does not reset the machine.
 */
export const RESET_CONTROL_FIRST_PORT = RESET_CONTROL_PORT - 1;
export const RESET_CONTROL_PORTS = 4;

const RST_CPU = 0x04;
const KEPT = 0x0a;

export class ResetControl implements PortDevice {
  readonly name = 'reset-control';
  readonly #u32: Uint32Array;
  readonly #resetMachine: () => void;

  constructor(state: StateBlock, resetMachine: () => void) {
    this.#u32 = state.u32;
    this.#resetMachine = resetMachine;
  }

  reset(): void {
    this.#u32[0] = 0;
  }

  readPort(port: number, size: number): number {
    return port === RESET_CONTROL_PORT && size === 1 ? this.#u32[0]! : 2 ** (size * 8) - 1;
  }

  writePort(port: number, size: number, value: number): void {
    if (port !== RESET_CONTROL_PORT || size !== 1) return;
    this.#u32[0] = value & KEPT;
    if ((value & RST_CPU) !== 0) this.#resetMachine();
  }
}
