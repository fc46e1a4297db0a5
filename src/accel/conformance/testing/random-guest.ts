/**
 * Guests of random code for tests that nothing a guest does hangs its monitor: from a seed, pieces of code that use
 * ports, device memory, model-specific and control registers, descriptor and page tables, far transfers, repeated
 * strings and plain random bytes. Every exception and interrupt goes on with some other piece, on a new stack or on
 * whatever stack there is.
 */
import { IOAPIC_ADDRESS, LOCAL_APIC_ADDRESS } from '../../../arch/layout.js';
import { Random } from '../../wasm/testing/states.js';
import { GuestCode, IDT } from './guest.js';

const PIECES = 40;
const TABLES = 0x240000;
const SCRATCH = 0x260000;
/** Room for page tables, descriptors and data at random. */
const SCRATCH_BYTES = 0x40000;

/** Ports with a device behind them, and one without. */
const PORTS = [
  0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xcf8,
  0xcfc, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x600, 0x604, 0x608, 0x1234,
];
const MSRS = [
  0x10, 0x1b, 0x3a, 0x174, 0x175, 0x176, 0x179, 0x1a0, 0x1d9, 0x200, 0x277, 0x2ff, 0x6e0, 0x800,
  0x80b, 0x830, 0x832, 0x838, 0x83e, 0x4b564d00, 0x4b564d01, 0xc0000080, 0xc0000081, 0xc0000082,
  0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103,
];
/** Group 1 of string operations: MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS in bytes and dwords. */
const STRINGS = [
  0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x6c, 0x6d, 0x6e, 0x6f,
];
/** CR0, CR3, CR4 and EFER's bits that make a difference. */
const CR0_BITS = [0x1, 0x2, 0x4, 0x8, 0x10000, 0x40000, 0x80000000];
const CR4_BITS = [0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80, 0x200, 0x400];

class RandomGuest extends GuestCode {
  readonly #random: Random;

  constructor(random: Random) {
    super();
    this.#random = random;
  }

  /** An address: RAM in use, scratch, a device, none, anything. */
  #address(): number {
    const random = this.#random;
    return random.pick([
      () => SCRATCH + random.below(SCRATCH_BYTES),
      () => SCRATCH + random.below(SCRATCH_BYTES),
      () => TABLES + random.below(0x4000),
      () => this.origin + random.below(0x1000),
      () => IDT + random.below(0x1000),
      () => LOCAL_APIC_ADDRESS + random.below(0x400),
      () => IOAPIC_ADDRESS + random.below(0x20),
      () => 0xc0000000 + random.below(0x10000),
      () => random.word(),
    ])();
  }

  #registers(): void {
    for (const register of ['ecx', 'esi', 'edi'] as const) {
      this.mov(register, this.#random.oneIn(3) ? this.#random.word() : this.#address());
    }
  }

  #bytes(count: number): void {
    for (let i = 0; i < count; i++) this.emit(this.#random.word());
  }

  /** One way or another to spend time or to change the machine. */
  #piece(): void {
    const random = this.#random;
    const dx = (value: number): this => this.mov('edx', value);
    const eax = (value: number): this => this.mov('eax', value);
    const toggled = (bits: readonly number[]): number =>
      bits.reduce((sum, bit) => (random.oneIn(4) ? sum | bit : sum), 0) >>> 0;
    random.pick([
      () => this.#bytes(4 + random.below(24)),
      () => this.#bytes(4 + random.below(24)),
      () => dx(random.pick(PORTS)).emit(random.pick([0xec, 0xed])),
      () =>
        eax(random.word())
          .mov('edx', random.pick(PORTS))
          .emit(random.pick([0xee, 0xef])),
      () => this.load('eax', this.#address()),
      () => this.storeValue(this.#address(), random.word()),
      () => this.mov('ecx', random.pick(MSRS)).emit('0f32'),
      () => {
        eax(random.oneIn(2) ? random.word() : this.#address());
        dx(random.oneIn(3) ? random.word() : 0)
          .mov('ecx', random.pick(MSRS))
          .emit('0f30');
      },
      () => this.emit('0f20c0 35').dword(toggled(CR0_BITS)).emit('0f22c0'),
      () => this.emit('0f20e0 35').dword(toggled(CR4_BITS)).emit('0f22e0'),
      () => eax(random.pick([TABLES, SCRATCH, this.#address()])).emit('0f22d8'),
      () => this.emit('0f01', random.pick([0x15, 0x1d])).dword(this.#address()),
      () => eax(random.below(0x40)).emit(0x8e, 0xc0 | (random.below(6) << 3)),
      () => eax(random.below(0x40)).emit('0f00', random.pick([0xd0, 0xd8])),
      () => this.emit(random.pick(['fb', 'fa', 'fbf4', 'faf4', '9d', '9c58'])),
      () => this.emit(random.pick([0xcc, 0xce, 0xf1, 0xcf, 0xcb])),
      () => this.emit(0xcd, random.word()),
      () =>
        this.emit(random.pick([0x9a, 0xea]))
          .dword(this.#address())
          .word(random.below(0x40)),
      () => {
        this.#registers();
        dx(random.pick(PORTS)).emit(random.pick(['', 'fd', 'fc']));
        this.emit(random.pick([0xf2, 0xf3]), random.pick(STRINGS));
      },
      () => {
        this.#registers();
        this.mov('ecx', random.below(0x10000)).emit(0xf3, random.pick(STRINGS));
      },
      // A loop, long enough to be translated, over what a store in it may change.
      () => {
        const loop = this.fresh();
        this.mov('ecx', random.below(0x20000)).mov('esi', this.#address()).label(loop);
        this.emit(
          random.pick(['8906', '8b06', '0106', 'ff06', 'f706', '40', 'd9fe', '0fa2', '0f31']),
        );
        this.emit('83c6', random.word() & 7)
          .emit('49')
          .j('nz', loop);
      },
      // Writes code ahead, and runs it.
      () => {
        const ahead = this.fresh();
        eax(random.word()).emit(0xa3).address(ahead).label(ahead).emit('90909090');
      },
      () => eax(random.below(0x20)).emit('0f23', 0xc0 | (random.below(8) << 3)),
      () =>
        this.mov('esp', this.#address()).emit(random.pick([0x50, 0x58, 0x60, 0x61, 0xc3, 0x9c])),
      () => this.mov('ebp', this.#address()).emit(0xc8).word(random.word()).emit(random.below(32)),
      () =>
        this.emit('0fae')
          .emit(random.pick([0x05, 0x0d]))
          .dword(this.#address()),
      () => this.emit('0f013d').dword(this.#address()),
      // Requests to this processor and to others.
      () => this.storeValue(LOCAL_APIC_ADDRESS + 0x300, random.word() & 0xcffff),
      () => {
        this.storeValue(LOCAL_APIC_ADDRESS + 0xf0, 0x1ff);
        this.storeValue(LOCAL_APIC_ADDRESS + 0x320, random.word() & 0x300ff);
        this.storeValue(LOCAL_APIC_ADDRESS + 0x380, random.below(0x10000));
      },
    ])();
  }

  /** Page tables of 32-bit paging that map the first 4 MiB, and the APIC's, one to one; some entries at random. */
  #pageTables(): void {
    const random = this.#random;
    const loop = this.fresh();
    this.mov('edi', TABLES + 0x1000)
      .mov('eax', 7)
      .mov('ecx', 1024);
    this.label(loop).emit('8907 83c704 05').dword(0x1000).emit('49').j('nz', loop);
    this.storeValue(TABLES, (TABLES + 0x1000) | 7);
    this.storeValue(TABLES + (LOCAL_APIC_ADDRESS >>> 22) * 4, 0xfec00087);
    // The image.
    this.storeValue(TABLES + (this.origin >>> 22) * 4, ((this.origin >>> 22) << 22) | 0x87);
    for (let count = random.below(6); count > 0; count--) {
      this.storeValue(TABLES + random.below(0x2000), random.word());
    }
    this.mov('eax', TABLES).emit('0f22d8');
    if (random.oneIn(2))
      this.emit('0f20e0 83c810 0f22e0 0f20c0 0d').dword(0x80000000).emit('0f22c0');
  }

  build(): this {
    const random = this.#random;
    this.stack().print('up\n').interruptTable();
    if (!random.oneIn(8)) {
      for (let vector = 0; vector < 64; vector++) {
        this.gate(vector, `piece${random.below(PIECES)}`);
      }
    }
    if (random.oneIn(2)) this.#pageTables();
    for (let piece = 0; piece < PIECES; piece++) {
      this.label(`piece${piece}`);
      if (!random.oneIn(4)) this.stack();
      for (let count = random.below(3); count >= 0; count--) this.#piece();
      if (random.oneIn(3)) this.jmp(`piece${random.below(PIECES)}`);
    }
    return this.stack().jmp('piece0');
  }
}

/** The guest of a seed; it prints `up` first. */
export function randomGuest(seed: number): GuestCode {
  return new RandomGuest(new Random(seed)).build();
}
