/**
 * The inputs of interrupt controllers outside the board: keeps their levels, so that these hear of
 * changes only. A device drives its line at every access, and telling a kernel costs a system call.
 */
import type { InterruptLines } from './board-options.js';
import type { Device, StateBlock } from './device.js';

export class ExternalLines implements Device {
  readonly name = 'external-lines';
  readonly #levels: Uint8Array;
  readonly #lines: InterruptLines;

  constructor(state: StateBlock, lines: InterruptLines) {
    this.#levels = state.u8;
    this.#lines = lines;
  }

  reset(): void {
    for (let irq = 0; irq < this.#levels.length; irq += 1) this.set(irq, false);
  }

  /** @param irq 0–23, the ISA interrupts first */
  set(irq: number, level: boolean): void {
    const value = level ? 1 : 0;
    if (this.#levels[irq] === value) return;
    this.#levels[irq] = value;
    this.#lines.set(irq, level);
  }
}
