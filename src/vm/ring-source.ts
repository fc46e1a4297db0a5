/** Console output as it comes from the ring that the guest's UART fills. */
import type { VmControl } from '../run/control.js';
import type { Execution } from '../run/execution.js';
import type { ConsoleSource } from './console-output.js';

export class RingSource implements ConsoleSource {
  readonly #control: VmControl;
  readonly #execution: Execution;
  /** What was in the ring when the VM ended: the ring may be another VM's soon. */
  #last: Uint8Array | undefined;
  #waited = false;
  #over = false;

  constructor(control: VmControl, execution: Execution) {
    this.#control = control;
    this.#execution = execution;
  }

  next(): Uint8Array | undefined {
    if (this.#over) {
      const last = this.#last;
      this.#last = undefined;
      return last;
    }
    // What comes from now on is announced anew.
    this.#control.takeConsoleNotice();
    const bytes = this.#read();
    const { board } = this.#execution;
    this.#waited = bytes !== undefined && board.transmitterWaits();
    if (this.#waited) this.#execution.consoleMoved();
    return bytes;
  }

  #read(): Uint8Array | undefined {
    const bytes = this.#execution.board.serialOutput.read();
    return bytes.length > 0 ? bytes : undefined;
  }

  /** A transmitter that waited may have filled the ring again without a word. */
  get more(): boolean {
    return this.#over ? this.#last !== undefined : this.#waited;
  }

  get ended(): boolean {
    return this.#over && this.#last === undefined;
  }

  /** The guest prints no more. */
  end(): void {
    if (this.#over) return;
    this.#last = this.#read();
    this.#over = true;
  }
}
