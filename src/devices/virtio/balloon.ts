/**
 * The memory balloon: pages that the guest does not use are discarded, and the guest says how it uses its
 * memory. Source: virtio 1.2, 5.5, with free page reporting (5.5.6.8), page poison (5.5.6.7) and statistics
 * (5.5.6.3). The balloon's target stays 0: reports alone have memory discarded, and take nothing from the guest.
 * All work on the rings is the host end's, for discarding pages takes milliseconds.
 */
import type { HostEnd, VirtioDevice, VirtioTransport } from './device.js';
import type { VirtQueue } from './queue.js';

const DEVICE_TYPE = 5;

// Queues (5.5.2). Those of features that are not negotiated have no number.
const INFLATE = 0;
const DEFLATE = 1;
const STATISTICS = 2;
const QUEUES = 4;

// Features (5.5.3)
const F_STATS_VQ = 1n << 1n;
const F_DEFLATE_ON_OOM = 1n << 2n;
const F_PAGE_POISON = 1n << 4n;
const F_REPORTING = 1n << 5n;

/** struct virtio_balloon_config (5.5.4): num_pages, actual, free_page_hint_cmd_id, poison_val. */
const CONFIG_BYTES = 16;
const C_ACTUAL = 4;
const C_POISON = 12;

// State words: what the driver wrote to the configuration.
const S_ACTUAL = 0;
const S_POISON = 1;

/** Page frame numbers are of pages of 4 KiB, whatever the guest's are (5.5.6). */
const PAGE = 4096;
/** struct virtio_balloon_stat: le16 tag, le64 val, packed. */
const STATISTIC_BYTES = 10;
/** More than any driver knows tags. */
const STATISTICS_MOST = 64;

/** How a guest uses its memory, as far as it says so. Bytes, and events since it booted. */
export interface GuestMemoryStatistics {
  readonly swappedIn?: number;
  readonly swappedOut?: number;
  readonly majorFaults?: number;
  readonly minorFaults?: number;
  /** Not used for anything. */
  readonly free?: number;
  readonly total?: number;
  /** What programs could still get. */
  readonly available?: number;
  /** Files kept in memory. */
  readonly caches?: number;
}

/** By tag (5.5.6.4). */
const NAMES: readonly (keyof GuestMemoryStatistics)[] = [
  'swappedIn',
  'swappedOut',
  'majorFaults',
  'minorFaults',
  'free',
  'total',
  'available',
  'caches',
];

/** Discards the whole pages of a range of guest RAM. @param zeros they have to read as zeros then */
export type Discard = (address: number, length: number, zeros: boolean) => void;

/** What a host end has of the device. */
export interface BalloonLink {
  /** The driver is ready. */
  readonly running: boolean;
  /** Takes the ranges that the guest does not use. */
  takeFree(discard: Discard): void;
  /** Has the guest gather statistics anew; the device calls when they are there. */
  askStatistics(): void;
  /** What the guest gathered last; undefined while it does, or has no driver. */
  readStatistics(): GuestMemoryStatistics | undefined;
}

export class VirtioBalloon implements VirtioDevice, BalloonLink {
  readonly type = DEVICE_TYPE;
  readonly features = F_STATS_VQ | F_DEFLATE_ON_OOM | F_PAGE_POISON | F_REPORTING;
  readonly queues = QUEUES;
  readonly hostEnd: HostEnd;
  readonly #transport: VirtioTransport;

  /** @param makeHost makes the host end, which is used on the thread that owns the VM */
  constructor(transport: VirtioTransport, makeHost: (link: BalloonLink) => HostEnd) {
    this.#transport = transport;
    this.hostEnd = makeHost(this);
  }

  get configuration(): Uint8Array {
    const bytes = new Uint8Array(CONFIG_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(C_ACTUAL, this.#transport.state[S_ACTUAL]!, true);
    view.setUint32(C_POISON, this.#transport.state[S_POISON]!, true);
    return bytes;
  }

  configure(offset: number, bytes: Uint8Array): void {
    if (bytes.length !== 4) return;
    const value = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    if (offset === C_ACTUAL) this.#transport.state[S_ACTUAL] = value;
    if (offset === C_POISON) this.#transport.state[S_POISON] = value;
  }

  process(): void {
    this.#transport.ring();
  }

  get running(): boolean {
    return this.#transport.running;
  }

  #has(feature: bigint): boolean {
    return (this.#transport.features & feature) !== 0n;
  }

  takeFree(discard: Discard): void {
    this.#transport.exclusive(() => {
      this.#transport.drain(INFLATE, (queue) => this.#takeInflated(queue, discard));
      this.#transport.drain(DEFLATE, (queue) => {
        const chain = queue.pop();
        if (chain !== undefined) queue.push(chain);
        return chain !== undefined;
      });
      if (!this.#has(F_REPORTING)) return;
      const reporting = this.#has(F_STATS_VQ) ? STATISTICS + 1 : STATISTICS;
      this.#transport.drain(reporting, (queue) => this.#takeReported(queue, discard));
    });
  }

  /** Pages that the driver holds for nobody: their numbers, le32 each. */
  #takeInflated(queue: VirtQueue, discard: Discard): boolean {
    const chain = queue.pop();
    if (chain === undefined) return false;
    const numbers = new Uint8Array(Math.min(chain.readableBytes, PAGE) & ~3);
    chain.read(0, numbers);
    const view = new DataView(numbers.buffer);
    for (let at = 0; at < numbers.length; at += 4) {
      this.#discard(view.getUint32(at, true) * PAGE, PAGE, discard);
    }
    queue.push(chain);
    return true;
  }

  #takeReported(queue: VirtQueue, discard: Discard): boolean {
    const chain = queue.pop();
    if (chain === undefined) return false;
    for (const { address, bytes } of chain.writable) this.#discard(address, bytes.length, discard);
    queue.push(chain);
    return true;
  }

  #discard(address: number, length: number, discard: Discard): void {
    const poisoned = this.#has(F_PAGE_POISON);
    // A driver that poisons pages wants to find them so, and they would be zeros.
    if (poisoned && this.#transport.state[S_POISON] !== 0) return;
    this.#transport.memory.view(address, length);
    discard(address, length, poisoned);
    this.#transport.memory.written(address, length);
  }

  askStatistics(): void {
    this.#transport.exclusive(() => {
      const queue = this.#statistics();
      const chain = queue?.pop();
      if (queue === undefined || chain === undefined) return;
      queue.push(chain);
      this.#transport.listen(STATISTICS);
      this.#transport.signal(STATISTICS);
    });
  }

  readStatistics(): GuestMemoryStatistics | undefined {
    let found: GuestMemoryStatistics | undefined;
    this.#transport.exclusive(() => {
      const queue = this.#statistics();
      const chain = queue?.pop();
      if (queue === undefined || chain === undefined) return;
      const most = STATISTICS_MOST * STATISTIC_BYTES;
      const bytes = new Uint8Array(Math.min(chain.readableBytes, most));
      chain.read(0, bytes);
      found = decodeStatistics(bytes);
      // The driver's until statistics are wanted again (5.5.6.3).
      queue.unpop();
    });
    return found;
  }

  /** The queue with the driver's buffer, if there are statistics at all. */
  #statistics(): VirtQueue | undefined {
    if (!this.#has(F_STATS_VQ)) return undefined;
    const queue = this.#transport.queue(STATISTICS);
    return queue.ready ? queue : undefined;
  }
}

function decodeStatistics(bytes: Uint8Array): GuestMemoryStatistics {
  const view = new DataView(bytes.buffer);
  const found: { -readonly [P in keyof GuestMemoryStatistics]: number } = {};
  for (let at = 0; at + STATISTIC_BYTES <= bytes.length; at += STATISTIC_BYTES) {
    const name = NAMES[view.getUint16(at, true)];
    if (name !== undefined) found[name] = Number(view.getBigUint64(at + 2, true));
  }
  return found;
}
