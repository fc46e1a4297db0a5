/**
 * A VM's serial console on the way in: what waits to go into the ring that the guest's UART empties. The
 * machine tells when the guest has taken some (VmControl.wantRoom), so nothing polls.
 */
import type { ByteRing } from '../devices/byte-ring.js';
import { PandoError } from '../error.js';

/** What may wait beyond the ring: bytes, and writes. A single larger write may wait alone. */
const WAITING_BYTES = 1 << 20;
const WAITING_WRITES = 1024;

export interface ConsoleSink {
  readonly ring: ByteRing;
  /** The machine says, once, when the guest has taken bytes. */
  wantRoom(): void;
  /** There are bytes to take. */
  moved(): void;
}

interface Write {
  bytes: Uint8Array;
  readonly taken: (whole: boolean) => void;
}

export class ConsoleInput {
  readonly #sink: ConsoleSink;
  #waiting: Write[] = [];
  #bytes = 0;
  #ended = false;

  constructor(sink: ConsoleSink) {
    this.#sink = sink;
  }

  /**
   * @returns true once the machine has all of the bytes, false when it ended before
   * @throws PandoError CONSOLE_INPUT_FULL, as a rejection
   */
  write(bytes: Uint8Array): Promise<boolean> {
    if (this.#ended) return Promise.resolve(false);
    if (bytes.length === 0) return Promise.resolve(true);
    const full =
      this.#bytes + bytes.length > WAITING_BYTES || this.#waiting.length >= WAITING_WRITES;
    if (full && this.#waiting.length > 0) {
      const message = `${this.#bytes} bytes of console input in ${this.#waiting.length} writes wait for the guest: no room for ${bytes.length} more`;
      const remedy = 'wait for the promise of one write before the next';
      return Promise.reject(new PandoError('CONSOLE_INPUT_FULL', message, { remedy }));
    }
    return new Promise((taken) => {
      this.#waiting.push({ bytes: new Uint8Array(bytes), taken });
      this.#bytes += bytes.length;
      if (this.#waiting.length === 1) this.feed();
    });
  }

  /** Puts into the ring what there is room for. */
  feed(): void {
    if (this.#ended || this.#waiting.length === 0) return;
    const { ring } = this.#sink;
    do {
      for (let write = this.#waiting[0]; write !== undefined; write = this.#waiting[0]) {
        const count = ring.write(write.bytes);
        this.#bytes -= count;
        if (count < write.bytes.length) {
          write.bytes = write.bytes.subarray(count);
          break;
        }
        this.#waiting.shift();
        write.taken(true);
      }
      if (this.#waiting.length > 0) this.#sink.wantRoom();
      this.#sink.moved();
      // The guest may have taken it before it knew that somebody wants to hear.
    } while (this.#waiting.length > 0 && ring.halfEmpty);
  }

  /** The guest takes no more. */
  end(): void {
    this.#ended = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const { taken } of waiting) taken(false);
  }
}
