/**
 * The two address spaces in which devices answer: 64 Ki ports, and physical memory outside RAM.
 *
 * Where nothing answers the data lines float high: reads give all-ones, writes are dropped. An
 * access wider than a device's data path becomes several, low address first, as on an ISA bus.
 */
import { PandoError } from '../error.js';
import type { MmioDevice, PortDevice } from './device.js';

const PORTS = 0x10000;
/** Ports whose owners are in one array: a machine has devices at few of the ports. */
const GROUP = 0x100;

function allOnes(size: number): number {
  return size >= 4 ? 0xffffffff : 2 ** (size * 8) - 1;
}

/** The port address space. */
export class PortBus {
  /** Index + 1 into the devices, per port of a group; 0 where nothing answers. */
  readonly #groups: (Uint8Array | undefined)[] = Array.from({ length: PORTS / GROUP });
  readonly #devices: PortDevice[] = [];
  readonly #widths: number[] = [];

  #owner(port: number): number {
    return this.#groups[Math.floor(port / GROUP)]?.[port % GROUP] ?? 0;
  }

  /**
   * Lets `device` answer at `count` ports from `first`.
   * @param width the device's data path in bytes: 1, 2 or 4
   * @throws PandoError PORT_RANGE_OVERLAP or PORT_RANGE_INVALID
   */
  attach(device: PortDevice, first: number, count: number, width = 1): void {
    if (first < 0 || count < 1 || first + count > PORTS) {
      throw new PandoError(
        'PORT_RANGE_INVALID',
        `${device.name}: ports ${first.toString(16)}h + ${count} leave the ${PORTS} ports`,
        { remedy: 'give the device ports below 10000h' },
      );
    }
    for (let port = first; port < first + count; port += 1) {
      const owner = this.#owner(port);
      if (owner !== 0) {
        throw new PandoError(
          'PORT_RANGE_OVERLAP',
          `${device.name}: port ${port.toString(16)}h already belongs to ${this.#devices[owner - 1]!.name}`,
          { remedy: 'give the device other ports' },
        );
      }
    }
    this.#devices.push(device);
    this.#widths.push(width);
    for (let port = first; port < first + count; port += 1) {
      const number = Math.floor(port / GROUP);
      const group = this.#groups[number] ?? new Uint8Array(GROUP);
      group[port % GROUP] = this.#devices.length;
      this.#groups[number] = group;
    }
  }

  /** @param size 1, 2 or 4 bytes; a port past ffffh wraps to 0 */
  read(port: number, size: number): number {
    const owner = this.#owner(port);
    if (owner === 0 && size === 1) return 0xff;
    const width = owner === 0 ? 1 : this.#widths[owner - 1]!;
    if (size <= width) return this.#devices[owner - 1]!.readPort(port, size) >>> 0;
    const half = size >>> 1;
    const low = this.read(port, half);
    return (low | (this.read((port + half) & 0xffff, half) << (half * 8))) >>> 0;
  }

  /** @param size 1, 2 or 4 bytes; bits of `value` above them are ignored */
  write(port: number, size: number, value: number): void {
    const owner = this.#owner(port);
    if (owner === 0 && size === 1) return;
    const width = owner === 0 ? 1 : this.#widths[owner - 1]!;
    if (size <= width) {
      this.#devices[owner - 1]!.writePort(port, size, (value & allOnes(size)) >>> 0);
      return;
    }
    const half = size >>> 1;
    this.write(port, half, value);
    this.write((port + half) & 0xffff, half, value >>> (half * 8));
  }
}

interface MmioRegion {
  readonly device: MmioDevice;
  readonly first: number;
  readonly end: number;
}

/** The part of the physical address space that is not RAM. */
export class MmioBus {
  readonly #regions: MmioRegion[] = [];

  /**
   * Lets `device` answer at `length` bytes from `first`.
   * @throws PandoError MMIO_RANGE_OVERLAP or MMIO_RANGE_INVALID
   */
  attach(device: MmioDevice, first: number, length: number): void {
    const end = first + length;
    if (first < 0 || length < 1 || !Number.isSafeInteger(end)) {
      throw new PandoError(
        'MMIO_RANGE_INVALID',
        `${device.name}: ${length} bytes at ${first.toString(16)}h are not a range below 2^53`,
        { remedy: 'give the device a range of at least one byte' },
      );
    }
    for (const region of this.#regions) {
      if (first < region.end && region.first < end) {
        throw new PandoError(
          'MMIO_RANGE_OVERLAP',
          `${device.name}: ${first.toString(16)}h–${end.toString(16)}h overlaps ${region.device.name} ` +
            `at ${region.first.toString(16)}h–${region.end.toString(16)}h`,
          { remedy: 'give the device another address' },
        );
      }
    }
    this.#regions.push({ device, first, end });
  }

  #find(address: number): MmioRegion | undefined {
    for (let i = 0; i < this.#regions.length; i += 1) {
      const region = this.#regions[i]!;
      if (address >= region.first && address < region.end) return region;
    }
    return undefined;
  }

  /** @param size 1, 2 or 4 bytes; an access that starts in a device belongs to it whole */
  read(address: number, size: number): number {
    const region = this.#find(address);
    if (region === undefined) return allOnes(size);
    return region.device.readMmio(address - region.first, size) >>> 0;
  }

  /** @param size 1, 2 or 4 bytes */
  write(address: number, size: number, value: number): void {
    const region = this.#find(address);
    region?.device.writeMmio(address - region.first, size, (value & allOnes(size)) >>> 0);
  }
}
