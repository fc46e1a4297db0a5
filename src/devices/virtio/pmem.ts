/**
 * Persistent memory: a window of the guest's address space that shows files. Reading it is no exit. What
 * the guest writes there is its own and ends with it, so a flush has nothing to do. Source: virtio 1.2,
 * 5.19.
 */
import type { VirtioDevice, VirtioTransport } from './device.js';

const DEVICE_TYPE = 27;
const REQUESTS = 0;
/** struct virtio_pmem_resp: le32 ret, 0 for success. */
const RESPONSE_BYTES = 4;

/** Where the window is in the guest's address space. */
export interface PmemWindow {
  /** A multiple of 2 MiB. */
  readonly address: number;
  /** A multiple of 2 MiB. */
  readonly bytes: number;
}

export class VirtioPmem implements VirtioDevice {
  readonly type = DEVICE_TYPE;
  readonly features = 0n;
  readonly queues = 1;
  /** struct virtio_pmem_config: le64 start, le64 size. */
  readonly configuration = new Uint8Array(16);
  readonly #transport: VirtioTransport;

  constructor(transport: VirtioTransport, { address, bytes }: PmemWindow) {
    this.#transport = transport;
    const view = new DataView(this.configuration.buffer);
    view.setBigUint64(0, BigInt(address), true);
    view.setBigUint64(8, BigInt(bytes), true);
  }

  process(): void {
    this.#transport.drain(REQUESTS, (queue) => {
      const chain = queue.pop();
      if (chain === undefined) return false;
      const bytes = Math.min(chain.writableBytes, RESPONSE_BYTES);
      for (const piece of chain.writablePieces(0, bytes)) piece.fill(0);
      queue.push(chain, bytes);
      return true;
    });
  }
}
