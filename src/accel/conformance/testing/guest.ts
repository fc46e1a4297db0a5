/**
 * A guest for the conformance suite: starts at the PVH entry in 32-bit protected mode, reports on the
 * serial console, and switches itself off. It uses nothing below but what every PC has.
 */
import { LOCAL_APIC_ADDRESS, PM1A_CONTROL_PORT, SLEEP_TYPE_S5 } from '../../../arch/layout.js';
import { buildElf, ENTRY, kernelLayout } from '../../../loader/testing/elf-builder.js';
import { Assembler } from './assembler.js';

/** RAM that guests use: beyond 2 MiB nothing is there at the start. */
export const STACK = 0x300000;
export const IDT = 0x200000;
/** Words for a guest's own use. */
export const COUNT = 0x210000;
export const DATA = 0x220000;

export const SERIAL = 0x3f8;
/** File offset of the code in the layout of kernelLayout. */
const CODE_OFFSET = 0x1040;
const CODE_ROOM = 0x17c0;

const CODE_SELECTOR = 0x08;
const INTERRUPT_GATE = 0x8e;

export const APIC_EOI = LOCAL_APIC_ADDRESS + 0xb0;

/** Code of a guest. */
export class GuestCode extends Assembler {
  constructor() {
    super(ENTRY);
  }

  /** Gives the guest a stack; before any call. */
  stack(): this {
    return this.mov('esp', STACK);
  }

  /** Prints a text; keeps all registers. */
  print(text: string): this {
    const after = this.fresh();
    this.emit(0x60).call(after);
    this.emit(...Buffer.from(text, 'latin1'), 0);
    return this.label(after).emit(0x5e).call('puts').emit(0x61);
  }

  /** Prints `name=` and EAX in hexadecimal; keeps all registers. */
  show(name: string): this {
    return this.print(`${name}=`).emit(0x60).call('hex').emit(0x61);
  }

  /** Prints `name=` and a dword of memory. */
  showMemory(name: string, address: number): this {
    return this.load('eax', address).show(name);
  }

  /** Prints `name=` and EAX in 64-bit mode; changes registers. */
  showLong(name: string): this {
    const after = this.fresh();
    this.emit(0x50)
      .call(after)
      .emit(...Buffer.from(`${name}=`, 'latin1'), 0);
    return this.label(after).emit(0x5e).call('puts').emit(0x58).call('hex');
  }

  /**
   * Goes to 64-bit mode: the first 1 GiB mapped one to one by pages of 2 MiB, the PML4 at `tables`, an
   * empty IDT of 16-byte gates. Changes EAX, ECX, EDX, EDI.
   */
  longMode(tables: number): this {
    const fill = this.fresh();
    const gdt = this.fresh();
    const far = this.fresh();
    this.storeValue(tables, (tables + 0x1000) | 3).storeValue(
      tables + 0x1000,
      (tables + 0x2000) | 3,
    );
    this.mov('edi', tables + 0x2000)
      .mov('eax', 0x83)
      .mov('ecx', 512);
    this.label(fill).emit('8907 83c708 05').dword(0x200000).emit('ffc9').j('nz', fill);
    this.emit('0f20e0 83c820 0f22e0').mov('eax', tables).emit('0f22d8');
    this.mov('ecx', 0xc0000080).emit('0f32 0d').dword(0x100).emit('0f30');
    // PG and WP.
    this.emit('0f20c0 0d').dword(0x80010000).emit('0f22c0 0f0115').address(gdt);
    this.emit(0xea).address(far).word(CODE_SELECTOR);
    this.label(gdt).word(0x17).address(gdt, 6);
    // Null, 64-bit code, data.
    this.dword(0).dword(0).dword(0x0000ffff).dword(0x00af9b00).dword(0x0000ffff).dword(0x00cf9300);
    this.label(far).mov('eax', 0x10).emit('8ed8 8ec0 8ed0');
    const idt = this.fresh();
    this.mov('eax', idt).emit('0f0118').jmp(`${idt}.end`);
    return this.label(idt).word(0xfff).dword(IDT).dword(0).label(`${idt}.end`);
  }

  /** An interrupt gate in 64-bit mode; changes EAX. */
  longGate(vector: number, label: string): this {
    const at = IDT + vector * 16;
    this.mov('eax', label).store(at, 'eax').emit('c1e810');
    this.store(at + 6, 'eax');
    return this.storeValue(at + 2, CODE_SELECTOR | (INTERRUPT_GATE << 24));
  }

  /** Makes an empty IDT the processor's; `gate` fills it. */
  interruptTable(): this {
    const register = this.fresh();
    const after = this.fresh();
    this.jmp(after).label(register).word(0x7ff).dword(IDT).label(after);
    return this.emit('0f011d').address(register);
  }

  /** An interrupt gate to a label; changes EAX. */
  gate(vector: number, label: string): this {
    const at = IDT + vector * 8;
    this.mov('eax', label);
    this.emit(0x66, 0xa3).dword(at);
    this.emit(0xc1, 0xe8, 0x10);
    this.emit(0x66, 0xa3).dword(at + 6);
    return this.storeValue(at + 2, CODE_SELECTOR | (INTERRUPT_GATE << 24));
  }

  /** Both 8259A: vectors 20h on, all inputs masked but those whose bit is 0 in `mask`. */
  pic(mask: number): this {
    this.out(0x20, 0x11).out(0xa0, 0x11).out(0x21, 0x20).out(0xa1, 0x28);
    this.out(0x21, 0x04).out(0xa1, 0x02).out(0x21, 0x01).out(0xa1, 0x01);
    return this.out(0x21, mask & 0xff).out(0xa1, mask >>> 8);
  }

  /**
   * A handler that counts in COUNT and ends its interrupt at the local APIC, or at the 8259A. It goes
   * back by POPF and RET: a KVM that emulates instructions has no IRET outside long mode.
   */
  countingHandler(label: string, controller: 'apic' | 'pic', ...more: (() => void)[]): this {
    this.label(label).emit(0x60).increment(COUNT);
    for (const part of more) part();
    if (controller === 'apic') this.storeValue(APIC_EOI, 0);
    else this.out(0x20, 0x20);
    return this.emit('61 ff742408 9d c20800');
  }

  /** Sleeps until COUNT has reached a number. */
  sleepUntilCount(count: number): this {
    const loop = this.fresh();
    const done = this.fresh();
    this.label(loop).emit(0xfa).compare(COUNT, count).j('ae', done);
    // STI holds interrupts off for one more instruction, so none comes between it and HLT.
    return this.emit(0xfb, 0xf4).jmp(loop).label(done).emit(0xfa);
  }

  powerOff(): this {
    return this.out(PM1A_CONTROL_PORT, (SLEEP_TYPE_S5 << 10) | 0x2000, 2).emit('f4 eb fd');
  }

  /** The kernel image, with the routines that `print` and `show` call. */
  image(): Uint8Array {
    this.label('puts').emit('8a06 84c0').j('z', 'puts.end').call('putc').emit('ffc6').jmp('puts');
    this.label('puts.end').emit(0xc3);
    // Waits for THRE, then sends AL.
    this.label('putc').emit('50 66bafd03').label('putc.wait').emit('ec a820').j('z', 'putc.wait');
    this.emit('58 66baf803 ee c3');
    // Eight digits of EAX, high first, and a line end.
    this.label('hex').emit('89c3 b908000000').label('hex.next').emit('c1c304 89d8 240f 3c0a');
    this.j('b', 'hex.digit').emit('0427').label('hex.digit').emit('0430').call('putc');
    this.emit('ffc9').j('nz', 'hex.next').emit('b00a').call('putc').emit(0xc3);
    const code = this.bytes();
    if (code.length > CODE_ROOM) throw new Error(`${code.length} bytes exceed ${CODE_ROOM}`);
    const layout = kernelLayout(64);
    const contents = [...(layout.contents ?? []), [CODE_OFFSET, code] as const];
    return buildElf({ ...layout, contents });
  }
}
