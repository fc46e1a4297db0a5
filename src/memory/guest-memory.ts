/**
 * Guest RAM of one VM: a shared WebAssembly.Memory of fixed size, the accelerator's control area first,
 * guest physical address 0 right behind it. V8 backs it with private anonymous pages, so untouched RAM
 * costs nothing, and files can be mapped over it.
 */
import { LOW_MEMORY_LIMIT } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { addressOf } from '../host/libc.js';
import { mapFileOver, mapZeroOver } from '../host/mmap.js';
import { type GuestRam, ramReleased } from './guest-ram.js';
import { Spares } from './spares.js';

/** Unit of a WebAssembly.Memory (WebAssembly Core Specification, "Memory Instances"). */
const WASM_PAGE = 0x10000;
const MAXIMUM_PAGES = 0x10000;

/** Sizes in bytes, both multiples of 64 KiB. */
export interface GuestMemorySizes {
  /** Guest RAM, at most 3 GiB, where the hole for devices begins. */
  readonly ramBytes: number;
  /** The area before guest RAM. */
  readonly controlBytes: number;
}

/** Each is address space without pages, some 10 GiB with V8's guard regions. */
const spareMemories = new Spares<WebAssembly.Memory>(16);

function allocate(limits: WebAssembly.MemoryDescriptor): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory(limits);
  } catch {
    // V8 collects garbage before it gives up: what spares of other sizes hold is then free.
    spareMemories.clear();
    return new WebAssembly.Memory(limits);
  }
}

/** Guest RAM and the control area before it. */
export class GuestMemory implements GuestRam {
  /** To instantiate engines with, and to post to workers. */
  readonly memory: WebAssembly.Memory;
  readonly buffer: SharedArrayBuffer;
  /** Offset of guest physical address 0 in `buffer`. */
  readonly controlBytes: number;
  readonly ramBytes: number;
  readonly #all: Uint8Array;
  #address: bigint | undefined;
  #released = false;

  private constructor(memory: WebAssembly.Memory, controlBytes: number) {
    if (!(memory.buffer instanceof SharedArrayBuffer))
      throw new PandoError('GUEST_MEMORY_NOT_SHARED', 'guest memory is not a shared memory');
    this.memory = memory;
    this.buffer = memory.buffer;
    this.controlBytes = controlBytes;
    this.ramBytes = memory.buffer.byteLength - controlBytes;
    this.#all = new Uint8Array(memory.buffer);
  }

  /**
   * Zeroed guest memory.
   *
   * @throws PandoError GUEST_RAM_SIZE for sizes out of range, GUEST_RAM_UNAVAILABLE when the host has
   * no address space or commit charge for it
   */
  static create({ ramBytes, controlBytes }: GuestMemorySizes): GuestMemory {
    const pages = (ramBytes + controlBytes) / WASM_PAGE;
    const valid =
      ramBytes % WASM_PAGE === 0 &&
      controlBytes % WASM_PAGE === 0 &&
      ramBytes > 0 &&
      controlBytes >= 0 &&
      ramBytes <= LOW_MEMORY_LIMIT &&
      pages <= MAXIMUM_PAGES;
    if (!valid)
      throw new PandoError(
        'GUEST_RAM_SIZE',
        `guest RAM of ${ramBytes} bytes is not a multiple of ${WASM_PAGE} between ${WASM_PAGE} and ${LOW_MEMORY_LIMIT}`,
        { remedy: 'give a whole number of MiB, 3 GiB at most' },
      );
    const spare = spareMemories.take(pages * WASM_PAGE);
    if (spare !== undefined) return new GuestMemory(spare, controlBytes);
    const limits = { initial: pages, maximum: pages, shared: true };
    try {
      return new GuestMemory(allocate(limits), controlBytes);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new PandoError(
        'GUEST_RAM_UNAVAILABLE',
        `the host refuses ${ramBytes} bytes of guest RAM`,
        {
          remedy:
            'give the guest less memory, run fewer VMs per process, or raise the limit (ulimit -v)',
          cause,
        },
      );
    }
  }

  /** The guest memory behind a WebAssembly.Memory that `create` made, e.g. one posted to a worker. */
  static attach(memory: WebAssembly.Memory, controlBytes: number): GuestMemory {
    return new GuestMemory(memory, controlBytes);
  }

  /** Host address of offset 0 of `buffer`, page-aligned; valid as long as this object is reachable. */
  get hostAddress(): bigint {
    this.#address ??= addressOf(this.#all);
    return this.#address;
  }

  /** Host address of guest physical address 0. */
  get ramHostAddress(): bigint {
    return this.hostAddress + BigInt(this.controlBytes);
  }

  /**
   * A view over guest RAM.
   *
   * @param gpa guest physical address of the first byte
   * @throws PandoError GUEST_ADDRESS_RANGE when any byte lies outside guest RAM
   */
  bytes(gpa: number, length: number): Uint8Array {
    this.#check(gpa, length);
    return this.#all.subarray(this.controlBytes + gpa, this.controlBytes + gpa + length);
  }

  /** Host address of a range of guest RAM, checked as by `bytes`. */
  hostRange(gpa: number, length: number): bigint {
    this.#check(gpa, length);
    return this.ramHostAddress + BigInt(gpa);
  }

  /** Part of the control area, whole pages, as zeros: its pages are back at the host. */
  discardControl(offset: number, length: number): void {
    if (!this.#released) mapZeroOver(this.hostAddress + BigInt(offset), length);
  }

  /**
   * Shows pages of a file in the control area, private to this memory. What was there is gone.
   * @param offset of the area, and `from` of the file: multiples of the page size
   * @returns false when the host refuses
   */
  mapControl(offset: number, length: number, fd: number, from: number): boolean {
    const address = this.hostAddress + BigInt(offset);
    return !this.#released && mapFileOver(address, length, fd, from) === undefined;
  }

  /** Guest RAM as zeros: no file is mapped any more, all pages are back at the host. */
  clear(): void {
    if (!this.#released) mapZeroOver(this.ramHostAddress, this.ramBytes);
  }

  /**
   * Gives every page back at once, control area included, and the address space to the next VM of the
   * same size. All vCPUs have stopped, and nobody uses `memory` and `buffer` any more.
   */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    mapZeroOver(this.hostAddress, this.buffer.byteLength);
    spareMemories.give(this.buffer.byteLength, this.memory);
  }

  #check(gpa: number, length: number): void {
    if (this.#released) throw ramReleased();
    if (gpa >= 0 && length >= 0 && gpa + length <= this.ramBytes) return;
    throw new PandoError(
      'GUEST_ADDRESS_RANGE',
      `guest range 0x${gpa.toString(16)}, ${length} bytes, ends outside guest RAM of ${this.ramBytes} bytes`,
      { remedy: 'give the guest more memory' },
    );
  }
}
