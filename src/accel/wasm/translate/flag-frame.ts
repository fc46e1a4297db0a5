/** Lazy flags in locals (core/flags.ts): carry and conditions, in line where their kind is known. */
import * as L from '../layout.js';
import {
  CC_A,
  CC_B,
  CC_OP,
  CC_RES,
  CPU,
  FLAG_KIND,
  LAZY_CARRY,
  LAZY_CONDITION,
  SET_SOME,
  STORE_FLAGS,
} from './locals.js';
import { RegionFrame } from './region-frame.js';

const CF = 0x001;
const PF = 0x004;
const AF = 0x010;
const ZF = 0x040;
const SF = 0x080;
const OF = 0x800;
const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

/** Flags that the conditions OF CF ZF CF|ZF SF PF are made of, by the upper three bits of their code. */
const MASKS = [OF, CF, ZF, CF | ZF, SF, PF];
const { explicit, sub, logic, add, sbb, inc, dec, parts, mul64 } = FLAG_KIND;

export class FlagFrame extends RegionFrame {
  /** Sets the kind of the flags; operands and result are in CC_A, CC_B, CC_RES already. */
  setKind(kind: number): void {
    if (kind !== this.kind) this.code.i32(kind).set(CC_OP);
    this.kind = kind;
  }

  /** The flags are all in FLAGS of the vCPU block. */
  setExplicit(): void {
    this.loadFlags();
    this.kind = explicit;
  }

  /** Pushes the vCPU block and the flags as they are: what the core's routines on lazy flags take. */
  #lazy(): void {
    this.code.get(CC_OP).get(CC_A).get(CC_B).get(CC_RES);
  }

  /** Makes the flags in memory right, in little code. */
  syncFlags(): void {
    this.code.get(CPU);
    this.#lazy();
    this.code.call(STORE_FLAGS);
  }

  /** Takes i32 flags from the stack; those of `mask` are set to them, the others stay. */
  setSome(mask: number, value: () => void): void {
    this.syncFlags();
    this.code.get(CPU).i32(mask);
    value();
    this.code.call(SET_SOME);
    this.setExplicit();
  }

  /** All arithmetic flags are what `value` pushes, as i32. */
  setAll(value: () => void): void {
    const { code } = this;
    code.get(CPU).get(CPU).memory('i32.load', L.FLAGS).i32(~ARITHMETIC).op('i32.and');
    value();
    code.op('i32.or').memory('i32.store', L.FLAGS);
    code.get(CPU).i32(explicit).memory('i32.store', L.CC_OP);
    this.setExplicit();
  }

  /** Whether ZF, SF and PF are those of CC_RES. */
  get fromResult(): boolean {
    return this.kind !== undefined && this.kind !== explicit;
  }

  /** Pushes the bit of AF as i64; only where `fromResult`. */
  adjust(): void {
    const { code, kind } = this;
    if (kind === logic || kind === mul64) code.i64(0);
    else if (kind === parts) code.get(CC_A).i64(AF).op('i64.and');
    else code.get(CC_A).get(CC_B).op('i64.xor').get(CC_RES).op('i64.xor').i64(AF).op('i64.and');
  }

  /** Pushes an i64 whose top bit is OF; false when the kind does not tell. */
  #overflow(): boolean {
    const { code, kind } = this;
    switch (kind) {
      case parts:
        code.get(CC_B).i64(63).op('i64.shl');
        return true;
      case add:
      case inc:
        code.get(CC_A).get(CC_RES).op('i64.xor').get(CC_B).get(CC_RES).op('i64.xor');
        code.op('i64.and');
        return true;
      case sub:
      case sbb:
      case dec:
        code.get(CC_A).get(CC_B).op('i64.xor').get(CC_A).get(CC_RES).op('i64.xor');
        code.op('i64.and');
        return true;
      default:
        return false;
    }
  }

  #flag(mask: number, negate: boolean): void {
    const { code } = this;
    code.get(CPU).memory('i32.load', L.FLAGS).i32(mask).op('i32.and');
    code.op('i32.eqz');
    if (!negate) code.op('i32.eqz');
  }

  /** Pushes CF as i32 0 or 1. */
  carry(): void {
    const { code, kind } = this;
    if (kind === sub) code.get(CC_A).get(CC_B).op('i64.lt_u');
    else if (kind === logic) code.i32(0);
    else if (kind === parts) code.get(CC_A).op('i32.wrap_i64').i32(1).op('i32.and');
    else if (kind === explicit || kind === inc || kind === dec) {
      code.get(CPU).memory('i32.load', L.FLAGS).i32(CF).op('i32.and');
    } else if (kind === add || kind === sbb) {
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
      code.get(CPU);
      this.#lazy();
      code.call(LAZY_CARRY);
    }
  }

  /** Pushes the condition with the 4-bit code of Jcc as i32 0 or 1. */
  condition(code4: number): void {
    const { kind } = this;
    const negate = (code4 & 1) === 1;
    const pair = code4 >> 1;
    const mask = MASKS[pair];
    if (kind === explicit && mask !== undefined) this.#flag(mask, negate);
    else if (kind === sub && pair !== 0 && pair !== 4 && pair !== 5) this.#comparison(pair, negate);
    else if (!this.fromResult || !this.#ofResult(pair, negate)) {
      this.code.get(CPU).i32(code4);
      this.#lazy();
      this.code.call(LAZY_CONDITION);
    }
  }

  /** Conditions that compare the operands of CMP and SUB. */
  #comparison(pair: number, negate: boolean): void {
    const { code } = this;
    code.get(CC_A).get(CC_B);
    if (pair === 1) code.op(negate ? 'i64.ge_u' : 'i64.lt_u');
    else if (pair === 2) code.op(negate ? 'i64.ne' : 'i64.eq');
    else if (pair === 3) code.op(negate ? 'i64.gt_u' : 'i64.le_u');
    else if (pair === 6) code.op(negate ? 'i64.ge_s' : 'i64.lt_s');
    else code.op(negate ? 'i64.gt_s' : 'i64.le_s');
  }

  /** Conditions where the flags come from CC_RES; false, with nothing written, when the kind does not tell. */
  #ofResult(pair: number, negate: boolean): boolean {
    const { code, kind } = this;
    const result = code.get.bind(code, CC_RES);
    if (pair === 2) {
      result()
        .i64(0)
        .op(negate ? 'i64.ne' : 'i64.eq');
      return true;
    }
    if (pair === 4 || (kind === logic && pair === 6)) {
      result()
        .i64(0)
        .op(negate ? 'i64.ge_s' : 'i64.lt_s');
      return true;
    }
    if (pair === 5) {
      result().i64(0xff).op('i64.and').op('i64.popcnt').op('i32.wrap_i64').i32(1).op('i32.and');
      if (!negate) code.op('i32.eqz');
      return true;
    }
    if (kind === logic) {
      // OF and CF are clear.
      if (pair === 7)
        result()
          .i64(0)
          .op(negate ? 'i64.gt_s' : 'i64.le_s');
      else if (pair === 3)
        result()
          .i64(0)
          .op(negate ? 'i64.ne' : 'i64.eq');
      else code.i32(negate ? 1 : 0);
      return true;
    }
    if (kind === mul64) return false;
    if (pair === 1 || pair === 3) {
      this.carry();
      if (pair === 3) result().op('i64.eqz').op('i32.or');
      if (negate) code.op('i32.eqz');
      return true;
    }
    if (!this.#overflow()) return false;
    if (pair !== 0) result().op('i64.xor');
    code.i64(0).op('i64.lt_s');
    if (pair === 7) result().op('i64.eqz').op('i32.or');
    if (negate) code.op('i32.eqz');
    return true;
  }
}
