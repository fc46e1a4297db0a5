/**
 * Guest RAM as devices reach it: every address and length comes from the guest and is checked here.
 * Ring indices go through atomic loads and stores, which are the barriers that the other side, a vCPU
 * on another thread, relies on (virtio 1.2, 2.7.13 and 2.7.14).
 */
import { PandoError } from '../error.js';

/** Guest RAM without a gap. */
export interface RamRun {
  /** Guest physical address of the first byte, a multiple of 4096. */
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** A guest gave an address outside its RAM, or an index that is not aligned: the device has lost its driver. */
export class GuestAccessError extends PandoError {
  constructor(address: number, length: number) {
    super(
      'GUEST_ADDRESS_RANGE',
      `a device was given ${length} bytes at guest physical ${address.toString(16)}h, which are not RAM`,
    );
  }
}

interface View {
  readonly address: number;
  readonly end: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
}

export class DeviceMemory {
  readonly #views: readonly View[];
  readonly #written: (address: number, length: number) => void;

  /**
   * @param written told of each range that a device has written, after the bytes are there and before
   *   anything tells the guest of them; where code may be cached, it drops it
   */
  constructor(
    runs: readonly RamRun[],
    written: (address: number, length: number) => void = () => undefined,
  ) {
    this.#views = runs.map(({ address, bytes }) => ({
      address,
      end: address + bytes.length,
      u8: bytes,
      u16: new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 1),
      u32: new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2),
    }));
    this.#written = written;
  }

  #find(address: number, length: number): View {
    for (let i = 0; i < this.#views.length; i += 1) {
      const view = this.#views[i]!;
      if (address >= view.address && length >= 0 && length <= view.end - address) return view;
    }
    throw new GuestAccessError(address, length);
  }

  #aligned(address: number, length: number): View {
    if (address % length !== 0) throw new GuestAccessError(address, length);
    return this.#find(address, length);
  }

  /**
   * The bytes themselves, for a host end to read from or write to. Whoever writes there calls
   * `written` afterwards.
   * @throws GuestAccessError when any byte is not RAM
   */
  view(address: number, length: number): Uint8Array {
    const view = this.#find(address, length);
    return view.u8.subarray(address - view.address, address - view.address + length);
  }

  /** Copies guest RAM to `into`. @throws GuestAccessError */
  read(address: number, into: Uint8Array): void {
    into.set(this.view(address, into.length));
  }

  /** Copies `from` to guest RAM. @throws GuestAccessError */
  write(address: number, from: Uint8Array): void {
    this.view(address, from.length).set(from);
    this.#written(address, from.length);
  }

  /** Bytes of a view that was taken before have been written. @throws GuestAccessError */
  written(address: number, length: number): void {
    this.#find(address, length);
    this.#written(address, length);
  }

  /** @throws GuestAccessError, also for an odd address */
  loadU16(address: number): number {
    const view = this.#aligned(address, 2);
    return Atomics.load(view.u16, (address - view.address) / 2);
  }

  /** @throws GuestAccessError, also for an address that is not a multiple of 4 */
  loadU32(address: number): number {
    const view = this.#aligned(address, 4);
    return Atomics.load(view.u32, (address - view.address) / 4);
  }

  /** @throws GuestAccessError, also for an odd address */
  storeU16(address: number, value: number): void {
    const view = this.#aligned(address, 2);
    Atomics.store(view.u16, (address - view.address) / 2, value);
    this.#written(address, 2);
  }

  /** @throws GuestAccessError, also for an address that is not a multiple of 4 */
  storeU32(address: number, value: number): void {
    const view = this.#aligned(address, 4);
    Atomics.store(view.u32, (address - view.address) / 4, value);
    this.#written(address, 4);
  }
}
