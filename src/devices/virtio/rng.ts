/** The entropy device. Source: virtio 1.2, 5.4. */
import type { VirtioDevice, VirtioTransport } from './device.js';

const DEVICE_TYPE = 4;
const REQUESTS = 0;
/** What a request may take at once: a driver asks for 64 bytes, or for a buffer of its user's size. */
const MOST = 0x10000;

export class VirtioRng implements VirtioDevice {
  readonly type = DEVICE_TYPE;
  readonly features = 0n;
  readonly queues = 1;
  readonly configuration = new Uint8Array(0);
  readonly #transport: VirtioTransport;
  readonly #fill: (bytes: Uint8Array) => void;

  /** @param fill fills bytes, which may be guest RAM, with random ones */
  constructor(transport: VirtioTransport, fill: (bytes: Uint8Array) => void) {
    this.#transport = transport;
    this.#fill = fill;
  }

  process(): void {
    this.#transport.drain(REQUESTS, (queue) => {
      const chain = queue.pop();
      if (chain === undefined) return false;
      const bytes = Math.min(chain.writableBytes, MOST);
      for (const piece of chain.writablePieces(0, bytes)) this.#fill(piece);
      queue.push(chain, bytes);
      return true;
    });
  }
}
