/** The frame of a translated function: guest state in locals, and the ways out of a region. */
import * as L from '../layout.js';
import { Code } from './encoder.js';
import {
  CALL_REGION,
  CC_A,
  CC_B,
  CC_OP,
  CC_RES,
  CONTEXT,
  CPU,
  ENTER_PAGE,
  FUNCTION_TYPE,
  LEFT,
  LINK,
  localType,
  PAGE,
  PLACE,
  REGISTER,
  REGISTERS_PASSED,
  STATUS,
  TARGET,
  VALID,
  VECTOR,
  WILD,
} from './locals.js';
import { pagesOf, type RegionBlock } from './region.js';

/** CC_OP while the flags in memory are the right ones. */
const FLAGS_IN_MEMORY = -1;
/** Levels of the blocks around everything: what a branch out of each does, see `close`. */
const EXIT_LEVEL = 0;
const PLACE_LEVEL = 1;
const FAULT_LEVEL = 2;
/** In PLACE: bits of the unspent instructions; the offset from the root's page, within REACH, is above. */
const UNSPENT_BITS = 6;
const ALL_REGISTERS = 0xffff;

/** The registers that a region has locals for, as bit masks. */
export interface RegisterUse {
  /** General registers: all, and those written. */
  readonly used: number;
  readonly written: number;
  /** XMM registers: all, and those that a block may read before it has written them. */
  readonly vectors: number;
  readonly entering: number;
}

/** One block's place while it is being translated. */
export interface Cursor {
  readonly block: RegionBlock;
  /** Offset of the block from the root's page. */
  readonly offset: number;
  /** Index of the operation. */
  index: number;
  /** Whether the region goes on behind a call that ends the block. */
  readonly returns: boolean;
  /** Goes on at the address in TARGET, inside the region if it is where one of its tables may lead. */
  readonly select: () => void;
}

export class RegionFrame {
  readonly code = new Code(FUNCTION_TYPE.parameters.length, localType);
  /** Whether this is 32-bit code, whose addresses wrap at 4 GiB. */
  readonly code32: boolean;
  /** Bit n: general register n is kept in a local, respectively written. */
  readonly used: number;
  readonly written: number;
  /** Kind of the flags where it is known at translation time. */
  kind: number | undefined;
  /** Records that the interpreter's routines get. */
  readonly records: Uint8Array[] = [];
  /** Words below the context: the pages' and the links. */
  links: number;
  /** The block in which an instruction has shown that SSE instructions run. */
  sseBlock: RegionBlock | undefined;

  readonly #pages: readonly number[];
  /** Bit n: XMM register n has a local, respectively one whose value on entry may be read. */
  readonly #vectors: number;
  readonly #entering: number;

  /** @param pages by number, the region's pages counted from the root's, which is the first */
  constructor(
    { used, written, vectors, entering }: RegisterUse,
    mode: number,
    pages: readonly number[],
  ) {
    this.code32 = (mode & L.MODE_CODE_MASK) === L.MODE_CODE32;
    this.#pages = pages;
    this.links = pages.length - 1;
    this.used = used;
    this.written = written;
    this.#vectors = vectors;
    this.#entering = entering;
  }

  /** The local of an XMM register. Each write of it goes to memory as well, so that one is always right. */
  vector(slot: number): number {
    return VECTOR + (slot >> 4);
  }

  /** Takes the XMM registers of a mask, as far as they have locals, from memory. */
  loadVectors(mask: number): void {
    for (let slot = 0; slot < 0x100; slot += 0x10) {
      if (!(this.#vectors & mask & (1 << (slot >> 4)))) continue;
      this.code
        .get(CPU)
        .vectorMemory('v128.load', L.XMM + slot)
        .set(this.vector(slot));
    }
  }

  /** Opens the function: registers and flags into locals. */
  open(): void {
    const { code } = this;
    code.block().block().block();
    this.loadRegisters(ALL_REGISTERS << REGISTERS_PASSED);
    this.loadVectors(this.#entering);
    this.loadFlags();
  }

  loadState(): void {
    this.loadRegisters(ALL_REGISTERS);
    this.loadVectors(ALL_REGISTERS);
    this.loadFlags();
  }

  /** Takes the general registers of a mask, as far as they have locals, from memory. */
  loadRegisters(mask: number): void {
    for (let register = 0; register < 16; register++) {
      if (!(this.used & mask & (1 << register))) continue;
      this.code
        .get(CPU)
        .memory('i64.load', L.GPR + register * 8)
        .set(REGISTER + register);
    }
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
    this.storeRegisters(ALL_REGISTERS);
    this.storeFlags();
  }

  /** Makes the general registers of a mask right in memory. */
  storeRegisters(mask: number): void {
    for (let register = 0; register < 16; register++) {
      if (!(this.written & mask & (1 << register))) continue;
      this.code
        .get(CPU)
        .get(REGISTER + register)
        .memory('i64.store', L.GPR + register * 8);
    }
  }

  /** Closes the function: what the ways out go through. */
  close(): Uint8Array {
    const { code } = this;
    code.end();
    code.i32(L.ST_FAULT).set(STATUS);
    code.end();
    code.i32(0).set(LINK);
    code.get(PAGE).get(PLACE).i32(UNSPENT_BITS).op('i32.shr_s').op('i64.extend_i32_s');
    code.op('i64.add');
    if (this.code32) this.cut();
    code.set(TARGET);
    code.get(LEFT).get(PLACE);
    code
      .i32((1 << UNSPENT_BITS) - 1)
      .op('i32.and')
      .op('i32.add')
      .set(LEFT);
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

  /** Pushes the linear address at an offset from the root's page, which may lie outside of it. */
  linear(offset: number): void {
    const { code } = this;
    code.get(PAGE);
    if (offset !== 0) code.i64(offset).op('i64.add');
    if (this.code32 && (offset < 0 || offset >= 0x1000)) this.cut();
  }

  /** Cuts the i64 on the stack to 32 bits. */
  cut(): void {
    this.code.op('i32.wrap_i64').op('i64.extend_i32_u');
  }

  /** Leaves the region for an offset from the page through a link of its own. */
  leave(offset: number): void {
    this.linear(offset);
    this.code.set(TARGET);
    this.leaveIndirect();
  }

  /**
   * Before control goes from one offset to another block of the region: leaves for there unless the pages are those
   * that they must be. The root's was, when the region was entered. Without `from` control may come from any page.
   */
  crossTo(block: RegionBlock, from?: number): void {
    for (const page of pagesOf(block)) {
      if (page !== 0 && (from === undefined || page !== from >> 12)) {
        this.#enterPage(page, block.offset);
      }
    }
  }

  #enterPage(page: number, offset: number): void {
    const { code } = this;
    const number = this.#pages.indexOf(page);
    code
      .get(VALID)
      .i32(1 << number)
      .op('i32.and')
      .op('i32.eqz')
      .if();
    code.get(CPU).get(CONTEXT).i32(number);
    this.linear(page << 12);
    code.call(ENTER_PAGE).op('i32.eqz').if();
    this.leave(offset);
    code.end();
    code
      .get(VALID)
      .i32(1 << number)
      .op('i32.or')
      .set(VALID);
    code.end();
  }

  /** From here on all pages but the root's are to be looked for again. */
  forgetPages(): void {
    if (this.#pages.length > 1) this.code.i32(0).set(VALID);
  }

  /** Leaves the region for the address in TARGET. */
  leaveIndirect(): void {
    const { code } = this;
    code.get(CONTEXT).i32(this.link()).op('i32.add').set(LINK).br(EXIT_LEVEL);
  }

  /** Runs the guest's routine at the linear address that `target` pushes, up to its return behind the block. */
  callRegion({ block, offset }: Cursor, target: () => void): void {
    const { code } = this;
    const after = offset + block.length;
    this.storeState();
    code.get(CPU).get(LEFT).get(CONTEXT).i32(this.link());
    target();
    this.linear(after);
    code.call(CALL_REGION).set(LEFT);
    code.get(CPU).memory('i32.load', L.JIT_STATUS).if().get(LEFT).return().end();
    this.loadState();
    this.forgetPages();
    this.kind = undefined;
    // What was called may have overwritten this code.
    this.ifDead(() => this.leaveAt(after, 0));
  }

  /** Runs `then` if the region's own code was overwritten. */
  ifDead(then: () => void): void {
    const { code } = this;
    code.get(CONTEXT).memory('i32.load', L.CTX_FUNCTION).op('i32.eqz').if();
    then();
    code.end();
  }

  #place(offset: number, unspent: number): void {
    this.code.i32((offset << UNSPENT_BITS) | unspent).set(PLACE);
  }

  /** Leaves at an instruction boundary without a link, giving back `unspent` instructions. */
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

  #placeAt({ block, offset, index }: Cursor): void {
    this.#place(offset + (block.operations[index]?.off ?? 0), block.count - index);
  }

  /** The instruction faulted and has changed nothing. */
  fault(cursor: Cursor): void {
    this.#placeAt(cursor);
    this.code.br(FAULT_LEVEL);
  }

  /** Takes an i32 from the stack: when it is 0 the instruction has faulted and changed nothing. */
  faultIfZero(cursor: Cursor): void {
    this.#placeAt(cursor);
    this.code.op('i32.eqz').brIf(FAULT_LEVEL);
  }

  /** Leaves at the instruction with STATUS unless that is ST_NEXT. */
  leaveUnlessNext(cursor: Cursor): void {
    this.#placeAt(cursor);
    this.code.get(STATUS).brIf(PLACE_LEVEL);
  }

  /** Faults at a branch whose target, a 64-bit local, is not canonical; all of flat 32-bit code can be branched to. */
  checkTarget(target: number, cursor: Cursor): void {
    const { code } = this;
    if (this.code32) return;
    code.get(target).i64(16).op('i64.shl').i64(16).op('i64.shr_s').get(target).op('i64.ne').if();
    code.get(CPU).call(WILD).drop();
    this.fault(cursor);
    code.end();
  }

  /** Inside a slow path, after the instruction: leaves if the region's own code was overwritten. */
  leaveIfDead({ block, offset, index }: Cursor): void {
    const { code } = this;
    const operation = block.operations[index];
    const next = offset + (operation?.off ?? 0) + (operation?.length ?? 0);
    this.#place(next, block.count - index - 1);
    code.get(CONTEXT).memory('i32.load', L.CTX_FUNCTION).op('i32.eqz').brIf(PLACE_LEVEL);
  }
}
