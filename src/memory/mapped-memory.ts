/**
 * Guest RAM on memory that mmap gives, for guests on kvm: of any size, and gone as soon as it is
 * released, where a WebAssembly.Memory keeps its address space until the garbage collector finds it.
 * What does not fit below the hole for devices lies from 4 GiB on in the guest, and right behind the
 * rest in the host.
 */
import { HIGH_MEMORY_START, LOW_MEMORY_LIMIT, PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { HostError } from '../host/errno.js';
import { viewOf } from '../host/libc.js';
import { mapZeroAligned, mapZeroOver, unmap } from '../host/mmap.js';
import type { GuestMemorySizes } from './guest-memory.js';
import { type GuestRam, ramReleased } from './guest-ram.js';
import { Spares } from './spares.js';

/** What the processor and the kernel can map as one page: guest and host agree on its boundaries. */
const LARGE_PAGE = 2 << 20;

const spareControl = new Spares<SharedArrayBuffer>(32);

/** Nobody uses views over it, or its control area, once it is released. */
export class MappedMemory implements GuestRam {
  readonly buffer: SharedArrayBuffer;
  readonly ramBytes: number;
  readonly ramHostAddress: bigint;
  #released = false;

  private constructor(ramHostAddress: bigint, { ramBytes, controlBytes }: GuestMemorySizes) {
    this.buffer = spareControl.take(controlBytes) ?? new SharedArrayBuffer(controlBytes);
    this.ramBytes = ramBytes;
    this.ramHostAddress = ramHostAddress;
  }

  /**
   * Zeroed guest memory of any multiple of the page size.
   * @throws PandoError GUEST_RAM_SIZE, GUEST_RAM_UNAVAILABLE
   */
  static create(sizes: GuestMemorySizes): MappedMemory {
    const { ramBytes } = sizes;
    if (!Number.isSafeInteger(ramBytes) || ramBytes <= 0 || ramBytes % PAGE_SIZE !== 0) {
      throw new PandoError(
        'GUEST_RAM_SIZE',
        `guest RAM of ${ramBytes} bytes is not a positive multiple of ${PAGE_SIZE}`,
        { remedy: 'give a whole number of MiB' },
      );
    }
    try {
      return new MappedMemory(mapZeroAligned(ramBytes, LARGE_PAGE), sizes);
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      throw new PandoError(
        'GUEST_RAM_UNAVAILABLE',
        `the host refuses ${ramBytes} bytes of guest RAM: ${cause.errno}`,
        { remedy: 'give the guest less memory, or raise the limit (ulimit -v)', cause },
      );
    }
  }

  bytes(gpa: number, length: number): Uint8Array {
    return viewOf(this.hostRange(gpa, length), length);
  }

  hostRange(gpa: number, length: number): bigint {
    const low = Math.min(this.ramBytes, LOW_MEMORY_LIMIT);
    const high = gpa - HIGH_MEMORY_START;
    if (this.#released) throw ramReleased();
    if (length >= 0) {
      if (gpa >= 0 && gpa + length <= low) return this.ramHostAddress + BigInt(gpa);
      if (high >= 0 && low + high + length <= this.ramBytes) {
        return this.ramHostAddress + BigInt(low + high);
      }
    }
    throw new PandoError(
      'GUEST_ADDRESS_RANGE',
      `guest range 0x${gpa.toString(16)}, ${length} bytes, ends outside guest RAM of ${this.ramBytes} bytes`,
      { remedy: 'give the guest more memory' },
    );
  }

  clear(): void {
    if (!this.#released) mapZeroOver(this.ramHostAddress, this.ramBytes);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    unmap(this.ramHostAddress, this.ramBytes);
    new Uint8Array(this.buffer).fill(0);
    spareControl.give(this.buffer.byteLength, this.buffer);
  }
}
