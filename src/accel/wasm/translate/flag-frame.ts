/** Lazy flags in locals (core/flags.ts): carry and conditions, in line where their kind is known. */
import { CARRY_FLAG, CC_A, CC_B, CC_OP, CC_RES, CONDITION, CPU, FLAG_KIND } from './locals.js';
import { RegionFrame } from './region-frame.js';

export class FlagFrame extends RegionFrame {
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
