/**
 * A split virtqueue from the device's side.
 *
 * Source: virtio 1.2, 2.7 split virtqueues, 2.7.5.3 indirect descriptors, 2.7.7 and 2.7.10 notification
 * suppression. Everything in the rings is the driver's and may be wrong or change while it is read: a
 * descriptor is read once, walks end, and what cannot be right is a QueueError.
 */
import { PandoError } from '../../error.js';
import { type DeviceMemory, GuestAccessError } from '../device-memory.js';
import { Chain } from './chain.js';

/** Words of a queue's state. */
export const QUEUE_STATE_WORDS = 16;
/** Entries at most (2.7: a power of two up to 32768); what Linux allocates is no larger than offered. */
export const QUEUE_SIZE_MAX = 256;

/** Positions of the registers in the state, for the transport. */
export const QUEUE = {
  size: 0,
  ready: 1,
  descriptorsLow: 2,
  descriptorsHigh: 3,
  availableLow: 4,
  availableHigh: 5,
  usedLow: 6,
  usedHigh: 7,
} as const;
/** Next entry of the available ring to take, and of the used ring to fill; modulo 2^16. */
const NEXT_AVAILABLE = 8;
const NEXT_USED = 9;
/** `NEXT_USED` when the driver was last interrupted or found not to want it. */
const SIGNALLED = 10;

const DESCRIPTOR_BYTES = 16;
const F_NEXT = 1;
const F_WRITE = 2;
const F_INDIRECT = 4;

/** Descriptors of a chain at most: Linux makes none longer (MAX_SKB_FRAGS, SG_MAX_SEGMENTS). */
const CHAIN_LIMIT = 1024;
/** Bytes of a chain at most: far above any request, far below what counts as a number could not. */
const CHAIN_BYTES = 2 ** 30;

const AVAIL_NO_INTERRUPT = 1;
const USED_NO_NOTIFY = 1;

/** The rings are not as a driver makes them; the device needs a reset (2.1.2). */
export class QueueError extends PandoError {
  constructor(message: string) {
    super('VIRTQUEUE_INVALID', message);
  }
}

/** Whether a failure is the driver's: its device stops until it is reset. */
export function isDriverFault(error: unknown): boolean {
  return error instanceof QueueError || error instanceof GuestAccessError;
}

export class VirtQueue {
  readonly #words: Uint32Array;
  readonly #memory: DeviceMemory;

  /** @param words QUEUE_STATE_WORDS words of the device's state */
  constructor(words: Uint32Array, memory: DeviceMemory) {
    this.#words = words;
    this.#memory = memory;
  }

  reset(): void {
    this.#words.fill(0);
  }

  get ready(): boolean {
    return this.#words[QUEUE.ready] !== 0;
  }

  get #size(): number {
    return this.#words[QUEUE.size]!;
  }

  #address(low: number): number {
    return this.#words[low + 1]! * 2 ** 32 + this.#words[low]!;
  }

  get #available(): number {
    return this.#address(QUEUE.availableLow);
  }

  get #used(): number {
    return this.#address(QUEUE.usedLow);
  }

  /** Where the driver says up to which used entry it wants no interrupt, and where it is told the like. */
  get #usedEvent(): number {
    return this.#available + 4 + 2 * this.#size;
  }

  get #availableEvent(): number {
    return this.#used + 4 + 8 * this.#size;
  }

  /**
   * Checks size, alignment and place of the rings: once, when the driver is ready.
   * @throws QueueError, GuestAccessError
   */
  check(): void {
    const size = this.#size;
    if (size === 0 || size > QUEUE_SIZE_MAX || (size & (size - 1)) !== 0) {
      throw new QueueError(
        `a queue of ${size} entries is not a power of two up to ${QUEUE_SIZE_MAX}`,
      );
    }
    const descriptors = this.#address(QUEUE.descriptorsLow);
    if (descriptors % 16 !== 0 || this.#available % 2 !== 0 || this.#used % 4 !== 0) {
      throw new QueueError('the rings of a queue are not aligned to 16, 2 and 4 bytes');
    }
    this.#memory.view(descriptors, DESCRIPTOR_BYTES * size);
    this.#memory.view(this.#available, 6 + 2 * size);
    this.#memory.view(this.#used, 6 + 8 * size);
  }

  /** How many chains wait to be taken. @throws QueueError */
  get waiting(): number {
    const index = this.#memory.loadU16(this.#available + 2);
    const count = (index - this.#words[NEXT_AVAILABLE]!) & 0xffff;
    if (count > this.#size) {
      throw new QueueError(`the available ring runs ${count} ahead of its ${this.#size} entries`);
    }
    return count;
  }

  /**
   * Takes the next chain; undefined when there is none.
   * @throws QueueError, GuestAccessError
   */
  pop(): Chain | undefined {
    if (this.waiting === 0) return undefined;
    const size = this.#size;
    const next = this.#words[NEXT_AVAILABLE]!;
    const head = this.#memory.loadU16(this.#available + 4 + 2 * (next & (size - 1)));
    if (head >= size) throw new QueueError(`descriptor ${head} of ${size} is made available`);
    const chain = this.#walk(head);
    this.#words[NEXT_AVAILABLE] = (next + 1) & 0xffff;
    return chain;
  }

  /** Puts the chain that was popped last back: it is the next one again. */
  unpop(): void {
    this.#words[NEXT_AVAILABLE] = (this.#words[NEXT_AVAILABLE]! - 1) & 0xffff;
  }

  #walk(head: number): Chain {
    const memory = this.#memory;
    const chain = new Chain(head);
    let table = this.#address(QUEUE.descriptorsLow);
    let entries = this.#size;
    let index = head;
    let indirect = false;
    let bytes = 0;
    for (let count = 0; ; ) {
      const at = table + index * DESCRIPTOR_BYTES;
      const address = memory.loadU32(at + 4) * 2 ** 32 + memory.loadU32(at);
      const length = memory.loadU32(at + 8);
      const tail = memory.loadU32(at + 12);
      const flags = tail & 0xffff;
      if ((flags & F_INDIRECT) !== 0) {
        if (indirect || (flags & F_NEXT) !== 0) {
          throw new QueueError('an indirect table is itself indirect or goes on behind it');
        }
        entries = length / DESCRIPTOR_BYTES;
        if (!Number.isInteger(entries) || entries === 0 || entries > CHAIN_LIMIT) {
          throw new QueueError(`an indirect table has ${length} bytes`);
        }
        // Words of descriptors are loaded, so a table lies at a multiple of 4; drivers take 16.
        if (address % 4 !== 0) throw new QueueError('an indirect table is not aligned');
        memory.view(address, length);
        table = address;
        index = 0;
        indirect = true;
        continue;
      }
      count += 1;
      bytes += length;
      // A chain that is longer than its table comes by some descriptor twice: it is a circle.
      if (count > entries) throw new QueueError(`a chain has more than ${entries} descriptors`);
      if (bytes > CHAIN_BYTES) throw new QueueError(`a chain has more than ${CHAIN_BYTES} bytes`);
      const view = memory.view(address, length);
      if ((flags & F_WRITE) !== 0) chain.addWritable(address, view);
      else if (chain.writable.length > 0) {
        throw new QueueError('a chain has a readable descriptor behind a writable one');
      } else chain.addReadable(view);
      if ((flags & F_NEXT) === 0) return chain;
      index = tail >>> 16;
      if (index >= entries) throw new QueueError(`descriptor ${index} of ${entries} is chained`);
    }
  }

  /**
   * Gives a chain back to the driver.
   * @param written bytes of its writable part that the device has written, from the start
   */
  push(chain: Chain, written = 0): void {
    this.pushAll([{ chain, written }]);
  }

  /** Gives several chains back, all of which the driver sees at once. */
  pushAll(chains: readonly { readonly chain: Chain; readonly written: number }[]): void {
    const memory = this.#memory;
    const size = this.#size;
    let next = this.#words[NEXT_USED]!;
    for (const { chain, written } of chains) {
      chain.announce(written, memory);
      const entry = this.#used + 4 + 8 * (next & (size - 1));
      memory.storeU32(entry, chain.head);
      memory.storeU32(entry + 4, written);
      next = (next + 1) & 0xffff;
    }
    this.#words[NEXT_USED] = next;
    memory.storeU16(this.#used + 2, next);
  }

  /**
   * Whether the driver wants an interrupt for what was pushed since this was last asked.
   * @param eventIndex VIRTIO_F_EVENT_IDX was negotiated
   */
  wantsInterrupt(eventIndex: boolean): boolean {
    const before = this.#words[SIGNALLED]!;
    const now = this.#words[NEXT_USED]!;
    if (before === now) return false;
    this.#words[SIGNALLED] = now;
    if (!eventIndex) {
      return (this.#memory.loadU16(this.#available) & AVAIL_NO_INTERRUPT) === 0;
    }
    const event = this.#memory.loadU16(this.#usedEvent);
    // Has `now` passed `event` since `before`? (2.7.7.2)
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  /** Asks to be notified of further chains; whoever calls this looks at `waiting` once more. */
  enableNotifications(eventIndex: boolean): void {
    if (eventIndex) this.#memory.storeU16(this.#availableEvent, this.#words[NEXT_AVAILABLE]!);
    else this.#memory.storeU16(this.#used, 0);
  }

  /** Asks to be notified of what comes behind the chains that wait. */
  expectFurther(eventIndex: boolean): void {
    if (eventIndex) {
      this.#memory.storeU16(this.#availableEvent, this.#memory.loadU16(this.#available + 2));
    } else this.#memory.storeU16(this.#used, 0);
  }

  /** The device looks by itself: notifications would only cost. */
  disableNotifications(eventIndex: boolean): void {
    // An event index that is left behind asks for nothing until the ring has gone round.
    if (!eventIndex) this.#memory.storeU16(this.#used, USED_NO_NOTIFY);
  }
}
