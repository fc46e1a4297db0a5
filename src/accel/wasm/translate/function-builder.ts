/**
 * What instructions are written with: register operands, and memory operands through the software TLBs
 * (core/mmu.ts).
 */
import * as L from '../layout.js';
import { FlagFrame } from './flag-frame.js';
import {
  COMMIT,
  CPU,
  ENTRY,
  MODIFY_MISS,
  PAGE,
  POINTER,
  READ_MISS,
  READ16_MISS,
  REGISTER,
  SET,
  STORE_MISS,
  STORE16_MISS,
  VA,
} from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';

const STORES = ['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const;

export class FunctionBuilder extends FlagFrame {
  /** Pushes a general register, 64 bits. */
  register(slot: number): void {
    this.code.get(REGISTER + (slot >> 3));
  }

  /** Pushes the linear address of a memory operand. */
  address(operation: Operation, { offset }: Cursor): void {
    const { code } = this;
    this.offset(operation, offset);
    const segment = (operation.ea >> L.EA_SEG_SHIFT) & 7;
    // The others are flat; code must not be written.
    if (segment === 0 || (this.code32 && segment <= L.SEG_DS && segment !== L.SEG_CS)) return;
    code
      .get(CPU)
      .memory('i64.load', L.SEG_BASE + segment * 8)
      .op('i64.add');
    if (!this.code32) return;
    this.cut();
    code
      .get(CPU)
      .memory('i64.load', L.SEG_MARK + segment * 8)
      .op('i64.or');
  }

  /** Pushes the operand's offset in its segment (what LEA gives), cut to the address size; `place` is the block's offset in the page. */
  offset(operation: Operation, place: number): void {
    const { code } = this;
    if (operation.ea & (L.EA_ADDR32 | L.EA_ADDR16)) {
      this.#narrowOffset(operation, place);
      return;
    }
    let constant = operation.disp;
    let pushed = false;
    if (operation.b === L.RIP) {
      constant += place;
      code.get(PAGE);
      pushed = true;
    } else if (operation.b !== L.SLOT_ZERO) {
      this.register(operation.b);
      pushed = true;
    }
    if (operation.x === L.SLOT_4G) constant += 2 ** 32;
    else if (operation.x !== L.SLOT_ZERO) {
      this.register(operation.x);
      const scale = operation.ea & L.EA_SCALE;
      if (scale > 0) code.i64(scale).op('i64.shl');
      if (pushed) code.op('i64.add');
      pushed = true;
    }
    if (!pushed) code.i64(constant);
    else if (constant !== 0) code.i64(constant).op('i64.add');
  }

  /** As `offset`, of an address size of 32 or 16 bits. */
  #narrowOffset({ b, x, ea, disp }: Operation, place: number): void {
    const { code } = this;
    code.i32(b === L.RIP ? disp + place : disp);
    if (b === L.RIP) code.get(PAGE).op('i32.wrap_i64').op('i32.add');
    else if (b !== L.SLOT_ZERO) {
      this.register(b);
      code.op('i32.wrap_i64').op('i32.add');
    }
    if (x !== L.SLOT_ZERO && x !== L.SLOT_4G) {
      this.register(x);
      code.op('i32.wrap_i64');
      if (ea & L.EA_SCALE) code.i32(ea & L.EA_SCALE).op('i32.shl');
      code.op('i32.add');
    }
    if (ea & L.EA_ADDR16) code.i32(0xffff).op('i32.and');
    code.op('i64.extend_i32_u');
  }

  /**
   * Takes an address from the stack into VA, and pushes its TLB entry's tag and what that is when the
   * access of so many bytes hits; ENTRY is the entry. An address that is not aligned, where it has to
   * be, never hits.
   */
  #look(tlb: number, bytes: number, aligned = false): void {
    const { code } = this;
    code.tee(VA);
    code.op('i32.wrap_i64').i32(8).op('i32.shr_u');
    code.i32((L.TLB_ENTRIES - 1) << 4).op('i32.and');
    code.get(SET).op('i32.add').tee(ENTRY).memory('i64.load', tlb);
    code.get(VA);
    if (bytes > 1 && !aligned) code.i64(bytes - 1).op('i64.add');
    code.i64(aligned ? bytes - 1 - 4096 : -4096).op('i64.and');
  }

  /** Pushes the pointer that a hit gives. */
  #hit(tlb: number): void {
    const { code } = this;
    code
      .get(VA)
      .op('i32.wrap_i64')
      .get(ENTRY)
      .memory('i32.load', tlb + 8)
      .op('i32.add');
  }

  #pointer(tlb: number, size: number, miss: number, cursor: Cursor): void {
    const { code } = this;
    this.#look(tlb, 1 << size);
    code.op('i64.eq').if();
    this.#hit(tlb);
    code.set(POINTER);
    code.else();
    code
      .get(CPU)
      .get(VA)
      .i32(1 << size)
      .call(miss)
      .tee(POINTER);
    this.faultIfZero(cursor);
    code.end();
  }

  /** Takes an address from the stack; POINTER to `1 << size` readable bytes. */
  readable(size: number, cursor: Cursor): void {
    this.#pointer(L.TLB_READ, size, READ_MISS, cursor);
  }

  /** Takes an address from the stack; POINTER to bytes to read and write. Call `modified` after writing. */
  modifiable(size: number, cursor: Cursor): void {
    this.#pointer(L.TLB_WRITE, size, MODIFY_MISS, cursor);
  }

  /** The last step of a read-modify-write instruction. */
  modified(cursor: Cursor): void {
    const { code } = this;
    code.get(POINTER).get(CPU).i32(L.BOUNCE).op('i32.add').op('i32.eq').if();
    code.get(CPU).call(COMMIT);
    this.leaveIfDead(cursor);
    code.end();
  }

  #store(size: number, value: number): void {
    this.#hit(L.TLB_WRITE);
    this.code.get(value).memory(STORES[size] ?? 'i64.store', 0);
  }

  /**
   * Takes an address from the stack and stores the low bytes of the 64-bit local `value` there;
   * `after` is what remains of the instruction.
   */
  write(size: number, value: number, cursor: Cursor, after: () => void = () => {}): void {
    const { code } = this;
    this.#look(L.TLB_WRITE, 1 << size);
    code.op('i64.eq').if();
    this.#store(size, value);
    after();
    code.else();
    code
      .get(CPU)
      .get(VA)
      .get(value)
      .i32(1 << size)
      .call(STORE_MISS);
    this.faultIfZero(cursor);
    after();
    this.leaveIfDead(cursor);
    code.end();
  }

  /** As `write`, for a call; `dead` goes on after a store that may have changed the region's own code. */
  writeCall(
    size: number,
    value: number,
    cursor: Cursor,
    after: () => void,
    dead: () => void,
  ): void {
    const { code } = this;
    this.#look(L.TLB_WRITE, 1 << size);
    code.op('i64.eq').if();
    this.#store(size, value);
    code.else();
    code
      .get(CPU)
      .get(VA)
      .get(value)
      .i32(1 << size)
      .call(STORE_MISS);
    this.faultIfZero(cursor);
    dead();
    code.end();
    after();
  }

  /** Takes an address from the stack; POINTER to 16 readable bytes. */
  readable16(aligned: boolean, cursor: Cursor): void {
    const { code } = this;
    this.#look(L.TLB_READ, 16, aligned);
    code.op('i64.eq').if();
    this.#hit(L.TLB_READ);
    code.set(POINTER);
    code.else();
    code
      .get(CPU)
      .get(VA)
      .i32(aligned ? 1 : 0)
      .call(READ16_MISS)
      .tee(POINTER);
    this.faultIfZero(cursor);
    code.end();
  }

  /** Takes an address from the stack and stores an XMM register there. */
  write16(slot: number, aligned: boolean, cursor: Cursor): void {
    const { code } = this;
    this.#look(L.TLB_WRITE, 16, aligned);
    code.op('i64.eq').if();
    this.#hit(L.TLB_WRITE);
    code.get(this.vector(slot)).vectorMemory('v128.store', 0);
    code.else();
    code
      .get(CPU)
      .get(VA)
      .get(CPU)
      .i32(L.XMM + slot)
      .op('i32.add')
      .i32(aligned ? 1 : 0)
      .call(STORE16_MISS);
    this.faultIfZero(cursor);
    this.leaveIfDead(cursor);
    code.end();
  }

  /** Pushes the value at POINTER as i64, sign- or zero-extended. */
  loadPointer(size: number, signed: boolean): void {
    const { code } = this;
    const names = signed
      ? (['i64.load8_s', 'i64.load16_s', 'i64.load32_s', 'i64.load'] as const)
      : (['i64.load8_u', 'i64.load16_u', 'i64.load32_u', 'i64.load'] as const);
    code.get(POINTER).memory(names[size] ?? 'i64.load', 0);
  }

  /** Stores the low bytes of the 64-bit local `value` at POINTER. */
  storePointer(size: number, value: number): void {
    this.code
      .get(POINTER)
      .get(value)
      .memory(STORES[size] ?? 'i64.store', 0);
  }

  /** Pushes the r/m operand as i64, sign- or zero-extended. */
  readRm(operation: Operation, cursor: Cursor, size: number, signed: boolean): void {
    this.#loadRm(operation, cursor, size, signed, () => this.readable(size, cursor));
  }

  /** As `readRm` of an operand that `writeRm` then writes; POINTER is to stay until then. */
  modifyRm(operation: Operation, cursor: Cursor, size: number, signed: boolean): void {
    this.#loadRm(operation, cursor, size, signed, () => this.modifiable(size, cursor));
  }

  /** `reach` takes the address of a memory operand from the stack and sets POINTER. */
  #loadRm(
    operation: Operation,
    cursor: Cursor,
    size: number,
    signed: boolean,
    reach: () => void,
  ): void {
    if (!operation.memory) {
      this.readRegister(operation.b, size, signed);
      return;
    }
    this.address(operation, cursor);
    reach();
    this.loadPointer(size, signed);
  }

  /** Writes the low bytes of the 64-bit local `value` to the operand of `modifyRm`: the instruction's last step. */
  writeRm(operation: Operation, cursor: Cursor, size: number, value: number): void {
    if (!operation.memory) {
      this.code.get(value);
      this.writeRegister(operation.b, size);
      return;
    }
    this.storePointer(size, value);
    // As `barrier` does (core/order.ts).
    if (operation.locked) this.code.get(CPU).i32(0).atomicAdd(L.SIMD_SCRATCH).op('drop');
    this.modified(cursor);
  }

  /** Pushes a register operand as i64, sign- or zero-extended from its size. */
  readRegister(slot: number, size: number, signed: boolean): void {
    const { code } = this;
    this.register(slot);
    if (slot & 1) code.i64(8).op('i64.shr_u');
    if (size === 3) return;
    if (signed) {
      code.op(
        (['i64.extend8_s', 'i64.extend16_s', 'i64.extend32_s'] as const)[size] ?? 'i64.extend32_s',
      );
    } else if (size === 2) code.op('i32.wrap_i64').op('i64.extend_i32_u');
    else code.i64(size === 0 ? 0xff : 0xffff).op('i64.and');
  }

  /** Takes an i64 from the stack into a register operand: 8 and 16 bits merge, 32 bits zero-extend. */
  writeRegister(slot: number, size: number): void {
    const { code } = this;
    const local = REGISTER + (slot >> 3);
    if (size === 3) {
      code.set(local);
      return;
    }
    if (size === 2) {
      code.op('i32.wrap_i64').op('i64.extend_i32_u').set(local);
      return;
    }
    const mask = size === 0 ? 0xff : 0xffff;
    const shift = slot & 1 ? 8 : 0;
    code.i64(mask).op('i64.and');
    if (shift) code.i64(shift).op('i64.shl');
    code
      .get(local)
      .i64(~(mask << shift))
      .op('i64.and')
      .op('i64.or')
      .set(local);
  }
}
