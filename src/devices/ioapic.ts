/**
 * The I/O APIC: 24 inputs, each routed by a redirection entry to local APICs.
 *
 * Source: Intel 82093AA data sheet (290566-001), sections 3.1 memory mapped registers and 3.2 IOAPIC
 * registers; the clearing of remote IRR by switching an entry to edge is what chipsets of that version
 * do and operating systems rely on in the absence of an EOI register.
 *
 * `setLine` says whether an input is asserted, whatever electrical level that is: the polarity bit is
 * kept for software and changes nothing.
 */
import { type ApicBus, BROADCAST, DELIVERY } from './apic-bus.js';
import type { MmioDevice, StateBlock } from './device.js';

/** Bytes of state. */
export const IOAPIC_STATE_BYTES = 256;
/** Bytes of physical address space. */
export const IOAPIC_MMIO_BYTES = 0x1000;
export const IOAPIC_PINS = 24;

// Memory mapped registers
const IOREGSEL = 0x00;
const IOWIN = 0x10;

// Registers behind IOWIN
const IOAPICID = 0x00;
const IOAPICVER = 0x01;
const IOAPICARB = 0x02;
const IOREDTBL = 0x10;

const VERSION_82093AA = 0x11;
const ID_MASK = 0x0f000000;

// Redirection entry, low word
const REDIR_VECTOR = 0xff;
const REDIR_DELIVERY_SHIFT = 8;
const REDIR_LOGICAL = 0x0800;
const REDIR_REMOTE_IRR = 0x4000;
const REDIR_LEVEL = 0x8000;
const REDIR_MASKED = 0x10000;
const REDIR_WRITABLE = 0x1afff;

// State words
const SELECT = 0;
const ID = 1;
const LINES = 2;
const ENTRIES = 4;

export class IoApic implements MmioDevice {
  readonly name = 'ioapic';
  readonly #u32: Uint32Array;
  readonly #bus: ApicBus;

  constructor(state: StateBlock, bus: ApicBus) {
    this.#u32 = state.u32;
    this.#bus = bus;
  }

  reset(): void {
    this.#u32.fill(0, 0, ENTRIES + 2 * IOAPIC_PINS);
    for (let pin = 0; pin < IOAPIC_PINS; pin += 1) this.#u32[ENTRIES + 2 * pin] = REDIR_MASKED;
  }

  /** Asserts or releases input `pin`, 0–23. */
  setLine(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    const lines = this.#u32[LINES]!;
    this.#u32[LINES] = asserted ? lines | bit : lines & ~bit;
    if (!asserted) return;
    const entry = this.#u32[ENTRIES + 2 * pin]!;
    if ((entry & REDIR_LEVEL) !== 0) this.#serviceLevel(pin);
    // An edge on a masked input is ignored, not held.
    else if ((lines & bit) === 0 && (entry & REDIR_MASKED) === 0) this.#deliver(pin);
  }

  /** A local APIC's EOI message for a level-triggered vector. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin += 1) {
      const index = ENTRIES + 2 * pin;
      const entry = this.#u32[index]!;
      if ((entry & REDIR_REMOTE_IRR) === 0 || (entry & REDIR_VECTOR) !== vector) continue;
      this.#u32[index] = entry & ~REDIR_REMOTE_IRR;
      this.#serviceLevel(pin);
    }
  }

  readMmio(offset: number, size: number): number {
    const word = this.#readWord(offset & ~3);
    return size === 4 ? word : word >>> ((offset & 3) * 8);
  }

  writeMmio(offset: number, size: number, value: number): void {
    if (offset === IOREGSEL) {
      this.#u32[SELECT] = value & 0xff;
    } else if (offset === IOWIN && size === 4) {
      this.#writeRegister(this.#u32[SELECT]!, value);
    }
  }

  #readWord(offset: number): number {
    if (offset === IOREGSEL) return this.#u32[SELECT]!;
    if (offset !== IOWIN) return 0xffffffff;
    const register = this.#u32[SELECT]!;
    switch (register) {
      case IOAPICID:
      case IOAPICARB:
        return this.#u32[ID]!;
      case IOAPICVER:
        return ((IOAPIC_PINS - 1) << 16) | VERSION_82093AA;
      default: {
        const index = register - IOREDTBL;
        return index >= 0 && index < 2 * IOAPIC_PINS ? this.#u32[ENTRIES + index]! : 0xffffffff;
      }
    }
  }

  #writeRegister(register: number, value: number): void {
    if (register === IOAPICID) {
      this.#u32[ID] = value & ID_MASK;
      return;
    }
    const index = register - IOREDTBL;
    if (index < 0 || index >= 2 * IOAPIC_PINS) return;
    if ((index & 1) !== 0) {
      this.#u32[ENTRIES + index] = value & 0xff000000;
      return;
    }
    const level = (value & REDIR_LEVEL) !== 0;
    const kept = level ? this.#u32[ENTRIES + index]! & REDIR_REMOTE_IRR : 0;
    this.#u32[ENTRIES + index] = (value & REDIR_WRITABLE) | kept;
    if (level) this.#serviceLevel(index >>> 1);
  }

  #serviceLevel(pin: number): void {
    const entry = this.#u32[ENTRIES + 2 * pin]!;
    if ((entry & (REDIR_MASKED | REDIR_REMOTE_IRR)) !== 0 || (entry & REDIR_LEVEL) === 0) return;
    if (((this.#u32[LINES]! >>> pin) & 1) === 0) return;
    if (this.#deliver(pin)) this.#u32[ENTRIES + 2 * pin] = entry | REDIR_REMOTE_IRR;
  }

  /** Sends the input's message; true when a local APIC took a level-triggered interrupt. */
  #deliver(pin: number): boolean {
    const entry = this.#u32[ENTRIES + 2 * pin]!;
    const mode = (entry >>> REDIR_DELIVERY_SHIFT) & 7;
    const logical = (entry & REDIR_LOGICAL) !== 0;
    const byte = this.#u32[ENTRIES + 2 * pin + 1]! >>> 24;
    const destination = byte === 0xff && !logical ? BROADCAST : byte;
    const level = (entry & REDIR_LEVEL) !== 0;
    const accepted = this.#bus.deliver(mode, entry & REDIR_VECTOR, level, destination, logical);
    return accepted && (mode === DELIVERY.fixed || mode === DELIVERY.lowestPriority);
  }
}
