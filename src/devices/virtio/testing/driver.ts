/**
 * A driver for tests, as small as the specification lets one be (virtio 1.2, 3.1.1): sets up a device
 * over its registers, makes chains available, takes used ones.
 */
import { BOARD_TOTAL_BYTES, DECLARED_STATE_BYTES } from '../../board-state.js';
import type { DeviceConnections } from '../../declared-device.js';
import { stateBlock } from '../../device.js';
import { DeviceMemory } from '../../device-memory.js';
import { StateLock } from '../../state-lock.js';
import type { VirtioDevice, VirtioTransport } from '../device.js';
import { VirtioMmio } from '../mmio.js';

export const RAM = 0x80000;
/** Bytes before and behind guest RAM that nobody may touch. */
export const GUARD = 0x1000;
export const QUEUE_SIZE = 16;

const VERSION_1 = 1n << 32n;
export const EVENT_IDX = 1n << 29n;

/** A buffer of a chain. */
export interface Buffer {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

/** A device in a machine of its own. */
export class TestDriver<T extends VirtioDevice> {
  readonly mmio: VirtioMmio;
  readonly device: T;
  readonly all = new Uint8Array(RAM + 2 * GUARD).fill(0xa5);
  readonly ram = this.all.subarray(GUARD, GUARD + RAM).fill(0);
  readonly view = new DataView(this.ram.buffer, this.ram.byteOffset, RAM);
  readonly memory = new DeviceMemory([{ address: 0, bytes: this.ram }]);
  interrupts = 0;
  rings = 0;
  #afterwards: (() => void)[] = [];
  readonly #available: number[] = [];
  readonly #used: number[] = [];
  #eventIndex = false;

  constructor(make: (transport: VirtioTransport, memory: DeviceMemory) => T) {
    const shared = new SharedArrayBuffer(BOARD_TOTAL_BYTES);
    let made: T | undefined;
    const connections: DeviceConnections = {
      state: stateBlock(shared, 0, DECLARED_STATE_BYTES),
      memory: this.memory,
      interrupt: {
        set: (level) => {
          if (level) this.interrupts += 1;
        },
      },
      lock: new StateLock(shared, DECLARED_STATE_BYTES),
      afterwards: (call) => this.#afterwards.push(call),
      locked: (call) => call(),
      ring: () => {
        this.rings += 1;
      },
    };
    this.mmio = new VirtioMmio('test', connections, (transport) => {
      made = make(transport, this.memory);
      return made;
    });
    this.device = made as T;
  }

  read(register: number): number {
    return this.mmio.readMmio(register, 4);
  }

  write(register: number, value: number): void {
    this.mmio.writeMmio(register, 4, value >>> 0);
    const calls = this.#afterwards;
    this.#afterwards = [];
    for (const call of calls) call();
  }

  /** Where the rings of a queue lie. */
  ringsOf(queue: number): { descriptors: number; available: number; used: number } {
    const at = 0x1000 + queue * 0x1000;
    return { descriptors: at, available: at + 0x400, used: at + 0x800 };
  }

  /** Resets, negotiates, sets all queues up, and says DRIVER_OK. Returns the status. */
  start(features: bigint = VERSION_1): number {
    this.#eventIndex = (features & EVENT_IDX) !== 0n;
    this.write(0x70, 0);
    this.write(0x70, 3);
    for (const word of [0, 1]) {
      this.write(0x24, word);
      this.write(0x20, Number(((features | VERSION_1) >> BigInt(32 * word)) & 0xffffffffn));
    }
    this.write(0x70, 11);
    for (let queue = 0; queue < this.device.queues; queue += 1) {
      const { descriptors, available, used } = this.ringsOf(queue);
      this.write(0x30, queue);
      this.write(0x38, QUEUE_SIZE);
      this.write(0x80, descriptors);
      this.write(0x90, available);
      this.write(0xa0, used);
      this.write(0x44, 1);
      this.#available[queue] = 0;
      this.#used[queue] = 0;
      this.ram.fill(0, descriptors, descriptors + 0x1000);
    }
    this.write(0x70, 15);
    return this.read(0x70);
  }

  /** Writes a descriptor of a table. */
  describe(
    table: number,
    index: number,
    { address, length, writable }: Buffer,
    next?: number,
    flags = 0,
  ): void {
    const at = table + index * 16;
    this.view.setBigUint64(at, BigInt(address), true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags | (writable ? 2 : 0) | (next === undefined ? 0 : 1), true);
    this.view.setUint16(at + 14, next ?? 0, true);
  }

  /** Makes a head available, whatever it is. */
  offer(queue: number, head: number): void {
    const { available } = this.ringsOf(queue);
    const index = this.#available[queue] ?? 0;
    this.view.setUint16(available + 4 + 2 * (index % QUEUE_SIZE), head, true);
    this.#available[queue] = (index + 1) & 0xffff;
    this.view.setUint16(available + 2, this.#available[queue] ?? 0, true);
  }

  /** Chains buffers from descriptor `head` on, and makes them available. */
  submit(queue: number, buffers: readonly Buffer[], head = 0): void {
    const { descriptors } = this.ringsOf(queue);
    buffers.forEach((buffer, index) => {
      const next = index + 1 < buffers.length ? head + index + 1 : undefined;
      this.describe(descriptors, head + index, buffer, next);
    });
    this.offer(queue, head);
  }

  /** Whether the device has asked to be notified of the chain that was made available last (2.7.10). */
  wantsNotice(queue: number): boolean {
    const { used } = this.ringsOf(queue);
    if (!this.#eventIndex) return (this.view.getUint16(used, true) & 1) === 0;
    const event = this.view.getUint16(used + 4 + 8 * QUEUE_SIZE, true);
    return event === (((this.#available[queue] ?? 0) - 1) & 0xffff);
  }

  notify(queue: number): void {
    this.write(0x50, queue);
  }

  /** The next used chain: its head and the bytes written; undefined when there is none. */
  used(queue: number): { head: number; written: number } | undefined {
    const { used } = this.ringsOf(queue);
    const index = this.#used[queue] ?? 0;
    if (this.view.getUint16(used + 2, true) === index) return undefined;
    this.#used[queue] = (index + 1) & 0xffff;
    const at = used + 4 + 8 * (index % QUEUE_SIZE);
    return { head: this.view.getUint32(at, true), written: this.view.getUint32(at + 4, true) };
  }

  get needsReset(): boolean {
    return (this.read(0x70) & 64) !== 0;
  }

  /** Whether the bytes around guest RAM are as they were. */
  get guarded(): boolean {
    return [...this.all.subarray(0, GUARD), ...this.all.subarray(GUARD + RAM)].every(
      (byte) => byte === 0xa5,
    );
  }
}
