/**
 * The virtio transport over memory-mapped registers, version 2.
 *
 * Source: virtio 1.2, 4.2.2 register layout, 4.2.3 operation, 2.1 device status, 3.1 initialisation.
 * Registers run under the board's lock. The rings are worked on after that, under the device's own
 * lock, so that a file that is slow does not hold the board.
 */
import type { DeviceConnections } from '../declared-device.js';
import type { Device, MmioDevice } from '../device.js';
import type { DeviceMemory } from '../device-memory.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  type VirtioDevice,
  type VirtioTransport,
} from './device.js';
import { isDriverFault, QUEUE, QUEUE_SIZE_MAX, QUEUE_STATE_WORDS, VirtQueue } from './queue.js';

const MAGIC_VALUE = 0x000;
const VERSION = 0x004;
const DEVICE_ID = 0x008;
const VENDOR_ID = 0x00c;
const DEVICE_FEATURES = 0x010;
const DEVICE_FEATURES_SEL = 0x014;
const DRIVER_FEATURES = 0x020;
const DRIVER_FEATURES_SEL = 0x024;
const QUEUE_SEL = 0x030;
const QUEUE_NUM_MAX = 0x034;
const QUEUE_NUM = 0x038;
const QUEUE_READY = 0x044;
const QUEUE_NOTIFY = 0x050;
const INTERRUPT_STATUS = 0x060;
const INTERRUPT_ACK = 0x064;
const STATUS = 0x070;
const SHM_LEN_LOW = 0x0b0;
const SHM_BASE_HIGH = 0x0bc;
const CONFIG_GENERATION = 0x0fc;
const CONFIG = 0x100;

/** Registers of the selected queue that hold an address, and where its state has it. */
const QUEUE_ADDRESSES: ReadonlyMap<number, number> = new Map([
  [0x080, QUEUE.descriptorsLow],
  [0x084, QUEUE.descriptorsHigh],
  [0x090, QUEUE.availableLow],
  [0x094, QUEUE.availableHigh],
  [0x0a0, QUEUE.usedLow],
  [0x0a4, QUEUE.usedHigh],
]);

const MAGIC = 0x74726976;
/** "PNDO" */
const VENDOR = 0x4f444e50;

// Device status (2.1)
const FEATURES_OK = 8;
const DRIVER_OK = 4;
const DEVICE_NEEDS_RESET = 64;
const STATUS_DRIVER = 0xff & ~DEVICE_NEEDS_RESET;

// Interrupt status
const USED_BUFFER = 1;
const CONFIGURATION = 2;

// State words
const S_STATUS = 0;
const S_DEVICE_SEL = 1;
const S_DRIVER_SEL = 2;
const S_FEATURES = 3;
const S_QUEUE_SEL = 5;
const S_INTERRUPT = 6;
const S_GENERATION = 7;
/** Survives a reset. */
const S_EPOCH = 8;
const S_QUEUES = 16;
const MAX_QUEUES = 8;
const S_DEVICE = S_QUEUES + MAX_QUEUES * QUEUE_STATE_WORDS;
const STATE_WORDS = 256;

export class VirtioMmio implements Device, MmioDevice, VirtioTransport {
  readonly name: string;
  readonly state: Uint32Array;
  readonly #words: Uint32Array;
  readonly #signals: Int32Array;
  readonly #connections: DeviceConnections;
  readonly #queues: readonly VirtQueue[];
  readonly #device: VirtioDevice;
  readonly #offered: bigint;

  /** @param make makes the device; the transport is not to be used before that returns */
  constructor(
    name: string,
    connections: DeviceConnections,
    make: (transport: VirtioTransport) => VirtioDevice,
  ) {
    this.name = name;
    this.#connections = connections;
    const words = connections.state.u32;
    this.#words = words;
    this.#signals = new Int32Array(words.buffer, words.byteOffset, words.length);
    this.state = words.subarray(S_DEVICE, STATE_WORDS);
    this.#queues = Array.from({ length: MAX_QUEUES }, (_, index) => {
      const at = S_QUEUES + index * QUEUE_STATE_WORDS;
      return new VirtQueue(words.subarray(at, at + QUEUE_STATE_WORDS), connections.memory);
    });
    this.#device = make(this);
    this.#offered =
      this.#device.features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
  }

  /** The device behind it, for its host end. */
  get device(): VirtioDevice {
    return this.#device;
  }

  reset(): void {
    const { epoch } = this;
    this.#words.fill(0);
    this.#words[S_EPOCH] = epoch + 1;
    this.#device.reset?.();
  }

  get epoch(): number {
    return this.#words[S_EPOCH]!;
  }

  get #status(): number {
    return this.#words[S_STATUS]!;
  }

  get features(): bigint {
    return BigInt(this.#words[S_FEATURES]!) | (BigInt(this.#words[S_FEATURES + 1]!) << 32n);
  }

  get #eventIndex(): boolean {
    return (this.#words[S_FEATURES]! & Number(VIRTIO_F_EVENT_IDX)) !== 0;
  }

  get running(): boolean {
    return (this.#status & (DRIVER_OK | DEVICE_NEEDS_RESET)) === DRIVER_OK;
  }

  get memory(): DeviceMemory {
    return this.#connections.memory;
  }

  queue(index: number): VirtQueue {
    return this.#queues[index]!;
  }

  signal(index: number): void {
    if (this.#queues[index]!.wantsInterrupt(this.#eventIndex)) this.#interrupt(USED_BUFFER);
  }

  drain(index: number, each: (queue: VirtQueue) => boolean): void {
    const queue = this.#queues[index]!;
    if (!queue.ready) return;
    queue.disableNotifications(this.#eventIndex);
    let going = true;
    do {
      while (going && queue.waiting > 0) going = each(queue);
      queue.enableNotifications(this.#eventIndex);
      // The driver may have added one before it saw that.
    } while (going && queue.waiting > 0);
    this.signal(index);
  }

  listen(index: number): boolean {
    const queue = this.#queues[index]!;
    queue.enableNotifications(this.#eventIndex);
    return queue.waiting > 0;
  }

  expectFurther(index: number): void {
    this.#queues[index]!.expectFurther(this.#eventIndex);
  }

  configurationChanged(): void {
    Atomics.add(this.#signals, S_GENERATION, 1);
    if ((this.#status & DRIVER_OK) !== 0) this.#interrupt(CONFIGURATION);
  }

  ring(): void {
    this.#connections.ring();
  }

  exclusive(body: () => void): void {
    const { lock } = this.#connections;
    lock.acquire();
    try {
      if (this.running) body();
    } catch (error) {
      if (!isDriverFault(error)) throw error;
      this.#stop();
    } finally {
      lock.release();
    }
  }

  /** The driver has broken the rings: nothing is done until it resets the device (2.1.2). */
  #stop(): void {
    Atomics.or(this.#signals, S_STATUS, DEVICE_NEEDS_RESET);
    this.#interrupt(CONFIGURATION);
  }

  #interrupt(cause: number): void {
    Atomics.or(this.#signals, S_INTERRUPT, cause);
    this.#connections.locked(() => {
      this.#connections.interrupt.set(true);
      this.#connections.interrupt.set(false);
    });
  }

  /** Bit `word` of the features: their low or high half, and nothing beyond. */
  #offeredWord(word: number): number {
    return word > 1 ? 0 : Number((this.#offered >> BigInt(32 * word)) & 0xffffffffn);
  }

  get #selected(): Uint32Array | undefined {
    const index = this.#words[S_QUEUE_SEL]!;
    if (index >= this.#device.queues) return undefined;
    const at = S_QUEUES + index * QUEUE_STATE_WORDS;
    return this.#words.subarray(at, at + QUEUE_STATE_WORDS);
  }

  readMmio(offset: number, size: number): number {
    if (offset >= CONFIG) return this.#readConfiguration(offset - CONFIG, size);
    if (size !== 4) return 0;
    switch (offset) {
      case MAGIC_VALUE:
        return MAGIC;
      case VERSION:
        return 2;
      case DEVICE_ID:
        return this.#device.type;
      case VENDOR_ID:
        return VENDOR;
      case DEVICE_FEATURES:
        return this.#offeredWord(this.#words[S_DEVICE_SEL]!);
      case QUEUE_NUM_MAX:
        return this.#selected === undefined ? 0 : QUEUE_SIZE_MAX;
      case QUEUE_READY:
        return this.#selected?.[QUEUE.ready] ?? 0;
      case INTERRUPT_STATUS:
        return Atomics.load(this.#signals, S_INTERRUPT);
      case STATUS:
        return this.#status;
      case CONFIG_GENERATION:
        return Atomics.load(this.#signals, S_GENERATION);
      default:
        // No shared memory: its length and base are all ones (4.2.2).
        return offset >= SHM_LEN_LOW && offset <= SHM_BASE_HIGH ? 0xffffffff : 0;
    }
  }

  #readConfiguration(offset: number, size: number): number {
    const bytes = this.#device.configuration;
    let value = 0;
    for (let i = 0; i < size; i += 1) value += (bytes[offset + i] ?? 0) * 2 ** (8 * i);
    this.#device.configurationRead?.(offset, size);
    return value;
  }

  writeMmio(offset: number, size: number, value: number): void {
    if (offset >= CONFIG) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff);
      this.#device.configure?.(offset - CONFIG, bytes);
      return;
    }
    if (size !== 4) return;
    switch (offset) {
      case DEVICE_FEATURES_SEL:
        this.#words[S_DEVICE_SEL] = value;
        break;
      case DRIVER_FEATURES_SEL:
        this.#words[S_DRIVER_SEL] = value;
        break;
      case DRIVER_FEATURES:
        this.#setFeatures(this.#words[S_DRIVER_SEL]!, value);
        break;
      case QUEUE_SEL:
        this.#words[S_QUEUE_SEL] = value;
        break;
      case QUEUE_NOTIFY:
        this.#notified(value & 0xffff);
        break;
      case INTERRUPT_ACK:
        Atomics.and(this.#signals, S_INTERRUPT, ~value);
        break;
      case STATUS:
        this.#setStatus(value & STATUS_DRIVER);
        break;
      default:
        this.#setQueue(offset, value);
    }
  }

  #setFeatures(word: number, value: number): void {
    if (word > 1 || (this.#status & FEATURES_OK) !== 0) return;
    this.#words[S_FEATURES + word] = value;
  }

  /** Registers of the selected queue; they are final once the driver is ready. */
  #setQueue(offset: number, value: number): void {
    const words = this.#selected;
    if (words === undefined || (this.#status & DRIVER_OK) !== 0) return;
    const address = QUEUE_ADDRESSES.get(offset);
    if (address !== undefined) words[address] = value;
    else if (offset === QUEUE_NUM) words[QUEUE.size] = value;
    else if (offset === QUEUE_READY) words[QUEUE.ready] = value & 1;
  }

  #notified(index: number): void {
    if (index >= this.#device.queues || !this.running) return;
    this.#connections.afterwards(() => this.exclusive(() => this.#device.process(index)));
  }

  #setStatus(value: number): void {
    const before = this.#status;
    if (value === 0) {
      this.#words[S_STATUS] = 0;
      // Nobody works on the rings any more when the driver goes on.
      this.#connections.afterwards(() => this.#resetFromDriver());
      return;
    }
    let next = value | (before & DEVICE_NEEDS_RESET);
    const wanted = this.features;
    const acceptable = (wanted & ~this.#offered) === 0n && (wanted & VIRTIO_F_VERSION_1) !== 0n;
    if (!acceptable) next &= ~FEATURES_OK;
    if ((next & FEATURES_OK) === 0) next &= ~DRIVER_OK;
    this.#words[S_STATUS] = next;
    if ((before & DRIVER_OK) !== 0 || (next & DRIVER_OK) === 0) return;
    this.#connections.afterwards(() => this.exclusive(() => this.#start()));
  }

  /** @throws QueueError, GuestAccessError */
  #start(): void {
    for (const queue of this.#queues) if (queue.ready) queue.check();
    this.#device.start?.();
    for (let index = 0; index < this.#device.queues; index += 1) {
      if (this.#queues[index]!.ready) this.#device.process(index);
    }
  }

  #resetFromDriver(): void {
    const { lock } = this.#connections;
    lock.acquire();
    try {
      this.reset();
    } finally {
      lock.release();
    }
  }
}
