/**
 * What translated code is made of: the locals that stand for the guest's registers and lazy flags,
 * memory accesses through the software TLBs (core/mmu.ts), and the ways out of a region.
 */
import * as L from '../layout.js';
import { Code, type FunctionType, I32, I64 } from './encoder.js';
import type { Operation, RegionBlock } from './region.js';

/** Parameters and locals of a translated function; see `FUNCTION_TYPE`. */
export const CPU = 0;
export const LEFT = 1;
export const CONTEXT = 2;
export const CC_OP = 3;
export const POINTER = 4;
export const ENTRY = 5;
export const A32 = 6;
export const STATUS = 7;
export const LINK = 8;
/** The TLB set of the current privilege. */
export const SET = 9;
/** Where in the page and with how many instructions unspent a way out leaves. */
export const PLACE = 10;
export const VA = 11;
export const A64 = 12;
export const B64 = 13;
export const R64 = 14;
export const TARGET = 15;
export const CC_A = 16;
export const CC_B = 17;
export const CC_RES = 18;
/** Linear address of the page that the code lies in. */
export const PAGE = 19;
/** First of sixteen general registers. */
export const REGISTER = 20;
export const I32_LOCALS = 8;
export const I64_LOCALS = 25;

/** (vCPU block, instructions left, region context) → instructions left. */
export const FUNCTION_TYPE: FunctionType = { parameters: [I32, I32, I32], results: [I32] };

/** What translated code calls in the core (core/index.ts). */
export const CORE_IMPORTS: readonly (readonly [string, FunctionType])[] = [
  ['readMiss', { parameters: [I32, I64, I32], results: [I32] }],
  ['modifyMiss', { parameters: [I32, I64, I32], results: [I32] }],
  ['storeMiss', { parameters: [I32, I64, I64, I32], results: [I32] }],
  ['commit', { parameters: [I32], results: [] }],
  ['execute', { parameters: [I32, I32, I32], results: [I32] }],
  ['carryFlag', { parameters: [I32], results: [I32] }],
  ['condition', { parameters: [I32, I32], results: [I32] }],
  ['wild', { parameters: [I32], results: [I32] }],
  ['mulHigh', { parameters: [I64, I64], results: [I64] }],
];

const importIndex = (name: string): number => CORE_IMPORTS.findIndex(([known]) => known === name);
export const READ_MISS = importIndex('readMiss');
export const MODIFY_MISS = importIndex('modifyMiss');
export const STORE_MISS = importIndex('storeMiss');
export const COMMIT = importIndex('commit');
export const EXECUTE = importIndex('execute');
export const CARRY_FLAG = importIndex('carryFlag');
export const CONDITION = importIndex('condition');
export const WILD = importIndex('wild');
export const MUL_HIGH = importIndex('mulHigh');

/** Kinds of lazy flags (core/flags.ts). */
export const FLAG_KIND = {
  explicit: 0,
  sub: 1,
  logic: 2,
  add: 3,
  sbb: 4,
  inc: 5,
  dec: 6,
  parts: 7,
  mul64: 8,
} as const;

/** CC_OP while the flags in memory are the right ones. */
const FLAGS_IN_MEMORY = -1;
/** Levels of the blocks around everything: what a branch out of each does, see `close`. */
const EXIT_LEVEL = 0;
const PLACE_LEVEL = 1;
const FAULT_LEVEL = 2;
/** In PLACE: bits of the offset in the page; the unspent instructions are above. */
const PLACE_BITS = 16;
const BITS = [8, 16, 32, 64] as const;

/** One block's place while it is being translated. */
export interface Cursor {
  readonly block: RegionBlock;
  /** Offset of the block in its page. */
  readonly offset: number;
  /** Index of the operation. */
  index: number;
}

export class FunctionBuilder {
  readonly code = new Code();
  /** Bit n: general register n is kept in a local, respectively written. */
  readonly used: number;
  readonly written: number;
  /** Kind of the flags where it is known at translation time. */
  kind: number | undefined;
  /** Records that the interpreter's routines get. */
  readonly records: Uint8Array[] = [];
  links = 0;

  constructor(used: number, written: number) {
    this.used = used;
    this.written = written;
  }

  /** Opens the function: registers and flags into locals. */
  open(): void {
    const { code } = this;
    code.block().block().block();
    code.get(CPU).memory('i32.load', L.TLB_SET).get(CPU).op('i32.add').set(SET);
    code.get(CPU).memory('i64.load', L.RIP).i64(-4096).op('i64.and').set(PAGE);
    this.loadState();
  }

  loadState(): void {
    const { code } = this;
    for (let register = 0; register < 16; register++) {
      if (!(this.used & (1 << register))) continue;
      code
        .get(CPU)
        .memory('i64.load', L.GPR + register * 8)
        .set(REGISTER + register);
    }
    this.loadFlags();
  }

  /** From here on the flags are those in memory. */
  loadFlags(): void {
    this.code.i32(FLAGS_IN_MEMORY).set(CC_OP);
  }

  /** Makes the flags in memory right. */
  storeFlags(): void {
    const { code } = this;
    code.get(CC_OP).i32(0).op('i32.ge_s').if();
    code.get(CPU).get(CC_OP).memory('i32.store', L.CC_OP);
    code.get(CPU).get(CC_A).memory('i64.store', L.CC_A);
    code.get(CPU).get(CC_B).memory('i64.store', L.CC_B);
    code.get(CPU).get(CC_RES).memory('i64.store', L.CC_RES);
    code.end();
  }

  storeState(): void {
    for (let register = 0; register < 16; register++) {
      if (!(this.written & (1 << register))) continue;
      this.code
        .get(CPU)
        .get(REGISTER + register)
        .memory('i64.store', L.GPR + register * 8);
    }
    this.storeFlags();
  }

  /** Closes the function: what the ways out go through. */
  close(): Uint8Array {
    const { code } = this;
    code.end();
    code.i32(L.ST_FAULT).set(STATUS);
    code.end();
    code.i32(0).set(LINK);
    code
      .get(PAGE)
      .get(PLACE)
      .i32((1 << PLACE_BITS) - 1)
      .op('i32.and')
      .op('i64.extend_i32_u');
    code.op('i64.add').set(TARGET);
    code.get(LEFT).get(PLACE).i32(PLACE_BITS).op('i32.shr_u').op('i32.add').set(LEFT);
    code.end();
    this.storeState();
    code.get(CPU).get(TARGET).memory('i64.store', L.JIT_RIP);
    code.get(CPU).get(LINK).memory('i32.store', L.JIT_LINK);
    code.get(CPU).get(STATUS).memory('i32.store', L.JIT_STATUS);
    code.get(LEFT).end();
    return code.bytes.take();
  }

  /** Reserves a link slot of the region's context; returns its offset, which is negative. */
  link(): number {
    return L.CTX_LINKS - 4 * ++this.links;
  }

  /** Pushes the linear address at an offset from the page, which may lie outside of it. */
  linear(offset: number): void {
    const { code } = this;
    code.get(PAGE);
    if (offset !== 0) code.i64(offset).op('i64.add');
  }

  /** Leaves the region for an offset from the page through a link of its own. */
  leave(offset: number): void {
    this.linear(offset);
    this.code.set(TARGET);
    this.leaveIndirect();
  }

  /** Leaves the region for the address in TARGET. */
  leaveIndirect(): void {
    const { code } = this;
    code.get(CONTEXT).i32(this.link()).op('i32.add').set(LINK).br(EXIT_LEVEL);
  }

  #place(offset: number, unspent: number): void {
    this.code.i32(offset | (unspent << PLACE_BITS)).set(PLACE);
  }

  /** Leaves at an instruction boundary of the page without a link, giving back `unspent` instructions. */
  leaveAt(offset: number, unspent: number): void {
    this.#place(offset, unspent);
    this.code.br(PLACE_LEVEL);
  }

  /** Tells validation that the end of the code so far is not reached. */
  unreachable(): void {
    this.code.unreachable();
  }

  /** Keeps a record for the interpreter's routine; returns its offset in the context. */
  record(bytes: Uint8Array): number {
    this.records.push(bytes);
    return L.CTX_RECORDS + L.REC_SIZE * (this.records.length - 1);
  }

  /** The instruction faulted and has changed nothing. */
  fault({ block, offset, index }: Cursor): void {
    this.#place(offset + (block.operations[index]?.off ?? 0), block.count - index);
    this.code.br(FAULT_LEVEL);
  }

  /** Faults at a branch whose target, a 64-bit local, is not canonical. */
  checkTarget(target: number, cursor: Cursor): void {
    const { code } = this;
    code.get(target).i64(16).op('i64.shl').i64(16).op('i64.shr_s').get(target).op('i64.ne').if();
    code.get(CPU).call(WILD).drop();
    this.fault(cursor);
    code.end();
  }

  /** Inside a slow path, after the instruction: leaves if the region's own code was overwritten. */
  leaveIfDead({ block, offset, index }: Cursor): void {
    const { code } = this;
    const operation = block.operations[index];
    code.get(CONTEXT).memory('i32.load', L.CTX_FUNCTION).op('i32.eqz').if();
    const next = offset + (operation?.off ?? 0) + (operation?.length ?? 0);
    this.leaveAt(next, block.count - index - 1);
    code.end();
  }

  /** Pushes a general register, 64 bits. */
  register(slot: number): void {
    this.code.get(REGISTER + (slot >> 3));
  }

  /** Pushes the linear address of a memory operand. */
  address(operation: Operation, { offset }: Cursor): void {
    const { code } = this;
    this.offset(operation, offset);
    const segment = (operation.ea >> L.EA_SEG_SHIFT) & 7;
    if (segment !== 0) {
      code
        .get(CPU)
        .memory('i64.load', L.SEG_BASE + segment * 8)
        .op('i64.add');
    }
  }

  /** Pushes the operand's offset in its segment (what LEA gives), cut to the address size; `place` is the block's offset in the page. */
  offset(operation: Operation, place: number): void {
    const { code } = this;
    let constant = BigInt(operation.disp);
    let pushed = false;
    if (operation.b === L.RIP) {
      constant += BigInt(place);
      code.get(PAGE);
      pushed = true;
    } else if (operation.b !== L.SLOT_ZERO) {
      this.register(operation.b);
      pushed = true;
    }
    if (operation.x === L.SLOT_4G) constant += 1n << 32n;
    else if (operation.x !== L.SLOT_ZERO) {
      this.register(operation.x);
      const scale = operation.ea & L.EA_SCALE;
      if (scale > 0) code.i64(scale).op('i64.shl');
      if (pushed) code.op('i64.add');
      pushed = true;
    }
    if (!pushed) code.i64(constant);
    else if (constant !== 0n) code.i64(constant).op('i64.add');
    if (operation.ea & L.EA_ADDR32) code.i64(0xffffffffn).op('i64.and');
  }

  /** Takes an address from the stack into VA, and pushes whether the TLB hits; ENTRY is its entry. */
  #look(tlb: number, size: number): void {
    const { code } = this;
    code.tee(VA);
    code.op('i32.wrap_i64').i32(8).op('i32.shr_u');
    code.i32((L.TLB_ENTRIES - 1) << 4).op('i32.and');
    code.get(SET).op('i32.add').tee(ENTRY).memory('i64.load', tlb);
    code.get(VA);
    const bytes = 1 << size;
    if (bytes > 1) code.i64(bytes - 1).op('i64.add');
    code.i64(-4096).op('i64.and');
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
    this.#look(tlb, size);
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
    code.op('i32.eqz').if();
    this.fault(cursor);
    code.end().end();
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
    this.code.get(value);
    this.code.memory(
      (['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const)[size] ?? 'i64.store',
      0,
    );
  }

  /**
   * Takes an address from the stack and stores the low bytes of the 64-bit local `value` there;
   * `after` is what remains of the instruction.
   */
  write(size: number, value: number, cursor: Cursor, after: () => void = () => {}): void {
    const { code } = this;
    this.#look(L.TLB_WRITE, size);
    code.op('i64.eq').if();
    this.#store(size, value);
    after();
    code.else();
    code
      .get(CPU)
      .get(VA)
      .get(value)
      .i32(1 << size)
      .call(STORE_MISS)
      .op('i32.eqz')
      .if();
    this.fault(cursor);
    code.end();
    after();
    this.leaveIfDead(cursor);
    code.end();
  }

  /** As `write` of 64 bits, for a call: the way out that follows is at an instruction boundary anyway. */
  writeCall(value: number, cursor: Cursor, after: () => void): void {
    const { code } = this;
    this.#look(L.TLB_WRITE, 3);
    code.op('i64.eq').if();
    this.#store(3, value);
    code.else();
    code.get(CPU).get(VA).get(value).i32(8).call(STORE_MISS).op('i32.eqz').if();
    this.fault(cursor);
    code.end().end();
    after();
  }

  /** Pushes the value at POINTER as i64, sign- or zero-extended. */
  loadPointer(size: number, signed: boolean): void {
    const { code } = this;
    const names = signed
      ? (['i64.load8_s', 'i64.load16_s', 'i64.load32_s', 'i64.load'] as const)
      : (['i64.load8_u', 'i64.load16_u', 'i64.load32_u', 'i64.load'] as const);
    code.get(POINTER).memory(names[size] ?? 'i64.load', 0);
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
    } else code.i64((1n << BigInt(BITS[size] ?? 32)) - 1n).op('i64.and');
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
      code.i64(0xffffffffn).op('i64.and').set(local);
      return;
    }
    const mask = size === 0 ? 0xffn : 0xffffn;
    const shift = slot & 1 ? 8n : 0n;
    code.i64(mask).op('i64.and');
    if (shift) code.i64(shift).op('i64.shl');
    code
      .get(local)
      .i64(~(mask << shift))
      .op('i64.and')
      .op('i64.or')
      .set(local);
  }

  /** Sets the kind of the flags; operands and result are in CC_A, CC_B, CC_RES already. */
  setKind(kind: number): void {
    this.kind = kind;
    this.code.i32(kind).set(CC_OP);
  }

  /** Pushes CF as i32 0 or 1. */
  carry(): void {
    const { code, kind } = this;
    const { sub, logic, add, sbb, parts } = FLAG_KIND;
    if (kind === sub) code.get(CC_A).get(CC_B).op('i64.lt_u');
    else if (kind === logic) code.i32(0);
    else if (kind === parts) code.get(CC_A).op('i32.wrap_i64');
    else if (kind === add || kind === sbb) {
      const complement = kind === sbb;
      const pushA = (): void => {
        code.get(CC_A);
        if (complement) code.i64(-1).op('i64.xor');
      };
      pushA();
      code.get(CC_B).op('i64.and');
      pushA();
      code.get(CC_B).op('i64.or').get(CC_RES);
      if (!complement) code.i64(-1).op('i64.xor');
      code.op('i64.and').op('i64.or').i64(63).op('i64.shr_u').op('i32.wrap_i64');
    } else {
      this.storeFlags();
      code.get(CPU).call(CARRY_FLAG);
    }
  }

  /** Pushes the condition with the 4-bit code of Jcc as i32 0 or 1. */
  condition(code4: number): void {
    const { code, kind } = this;
    const negate = (code4 & 1) === 1;
    const { sub, logic } = FLAG_KIND;
    const pair = code4 >> 1;
    const fromResult = kind !== undefined && kind !== FLAG_KIND.explicit;
    if (pair === 2 && fromResult) {
      if (kind === sub)
        code
          .get(CC_A)
          .get(CC_B)
          .op(negate ? 'i64.ne' : 'i64.eq');
      else
        code
          .get(CC_RES)
          .i64(0)
          .op(negate ? 'i64.ne' : 'i64.eq');
      return;
    }
    if (pair === 4 && fromResult) {
      code
        .get(CC_RES)
        .i64(0)
        .op(negate ? 'i64.ge_s' : 'i64.lt_s');
      return;
    }
    if (kind === sub && pair === 1) {
      code
        .get(CC_A)
        .get(CC_B)
        .op(negate ? 'i64.ge_u' : 'i64.lt_u');
      return;
    }
    if (kind === sub && pair === 3) {
      code
        .get(CC_A)
        .get(CC_B)
        .op(negate ? 'i64.gt_u' : 'i64.le_u');
      return;
    }
    if (pair === 6 && (kind === sub || kind === logic)) {
      code.get(kind === sub ? CC_A : CC_RES);
      if (kind === sub) code.get(CC_B);
      else code.i64(0);
      code.op(negate ? 'i64.ge_s' : 'i64.lt_s');
      return;
    }
    if (pair === 7 && (kind === sub || kind === logic)) {
      code.get(kind === sub ? CC_A : CC_RES);
      if (kind === sub) code.get(CC_B);
      else code.i64(0);
      code.op(negate ? 'i64.gt_s' : 'i64.le_s');
      return;
    }
    if (pair === 1 && kind !== undefined) {
      this.carry();
      if (negate) code.op('i32.eqz');
      return;
    }
    this.storeFlags();
    code.get(CPU).i32(code4).call(CONDITION);
  }
}
