/**
 * Guests that are never done: from a seed, a round of pieces that change memory, registers of all kinds, devices and
 * their own code, under the interrupts of two timers. Each piece ends soon.
 */
import { LOCAL_APIC_ADDRESS } from '../../../arch/layout.js';
import type { Random } from '../../wasm/testing/states.js';
import { DATA, GuestCode } from './guest.js';

const PIECES = 24;
const DATA_BYTES = 0x40000;

class BusyGuest extends GuestCode {
  readonly #random: Random;

  constructor(random: Random) {
    super();
    this.#random = random;
  }

  #address(): number {
    return DATA + (this.#random.below(DATA_BYTES) & ~3);
  }

  #piece(): void {
    const random = this.#random;
    random.pick([
      () => this.storeValue(this.#address(), random.word()),
      () => this.mov('eax', random.word()).store(this.#address(), 'eax'),
      () =>
        this.mov('edi', this.#address())
          .mov('ecx', random.below(2000))
          .mov('eax', random.word())
          .emit('f3ab'),
      () =>
        this.mov('esi', this.#address())
          .mov('edi', this.#address())
          .mov('ecx', random.below(500))
          .emit('f3a4'),
      () => {
        const loop = this.fresh();
        this.mov('ecx', 1 + random.below(200))
          .mov('esi', this.#address())
          .label(loop);
        this.emit(random.pick(['8906', '0306', '3106', 'f716', 'd106', '0fc8', '0fb106']));
        this.emit('83c604 49').j('nz', loop);
      },
      () => this.print(String.fromCharCode(0x61 + random.below(26))),
      // CMOS, interval timer, scratch register, POST code.
      () => this.out(0x70, 0x0e + random.below(0x60)).out(0x71, random.word() & 0xff),
      () =>
        this.out(0x43, 0x34)
          .out(0x40, random.word() & 0xff)
          .out(0x40, 1 + random.below(255)),
      () => this.out(0x3ff, random.word() & 0xff).in(0x3ff),
      () => this.storeValue(LOCAL_APIC_ADDRESS + 0x380, 500 + random.below(20_000)),
      () => this.storeValue(LOCAL_APIC_ADDRESS + 0x80, random.word() & 0x30),
      // x87, SSE, time, identification.
      () => this.emit(random.pick(['dbe3 d9eb', 'd9e8 dec1', 'd9fe', 'd9fa', 'd9c9', 'd9ee'])),
      () => this.mov('eax', random.word()).emit('660f6ec0', '660ffec8', '0f58d1', '0f14d8'),
      () => this.emit('0f31').store(this.#address(), 'eax'),
      () => this.mov('eax', random.below(8)).mov('ecx', 0).emit('0fa2'),
      () => this.emit('9c 58').store(this.#address(), 'eax'),
      () => this.emit('fb f4'),
      // Writes the code ahead: MOV EBX, a number.
      () => {
        const ahead = this.fresh();
        this.mov('eax', random.word()).emit(0xa3).address(ahead, 1).label(ahead);
        this.emit(0xbb).dword(0);
      },
    ])();
  }

  build(): this {
    const random = this.#random;
    this.stack().interruptTable().gate(0x20, 'pit').gate(0x41, 'apic').pic(0xfffe);
    this.storeValue(LOCAL_APIC_ADDRESS + 0xf0, 0x1ff).storeValue(LOCAL_APIC_ADDRESS + 0x3e0, 0xb);
    this.storeValue(LOCAL_APIC_ADDRESS + 0x320, 0x20041);
    this.storeValue(LOCAL_APIC_ADDRESS + 0x380, 500 + random.below(20_000));
    this.out(0x43, 0x34).out(0x40, 0).out(0x40, 0x10);
    this.emit('0f20e0 0d').dword(0x600).emit('0f22e0 dbe3 fb').label('round');
    for (let piece = 0; piece < PIECES; piece += 1) this.#piece();
    this.jmp('round').countingHandler('pit', 'pic');
    return this.countingHandler('apic', 'apic');
  }
}

export function busyGuest(random: Random): GuestCode {
  return new BusyGuest(random).build();
}
