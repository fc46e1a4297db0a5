/** The contract between the table of operations and what writes them out. */
import * as L from '../layout.js';
import type { FunctionBuilder } from './function-builder.js';
import { B64 } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';

/** Writes one instruction; `flags` tells whether anything may look at the flags that it sets. */
export type Emit = (
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  flags: boolean,
) => void;

/** One family of operations. */
export interface Emitter {
  /** Matches operation names. */
  readonly pattern: RegExp;
  readonly emit: (match: RegExpExecArray) => Emit;
  /** What it does with the flags: sets all, reads, or leaves alone. */
  readonly flags: 'set' | 'read' | 'none' | 'read-set';
  /** Whether it writes this instruction out, where that depends on more than the name. */
  readonly covers?: (operation: Operation) => boolean;
  /** General registers among the operands: which of r and b, when it is a register. */
  readonly operands: 'rb' | 'r' | 'b' | '';
  /** Those of them that it writes, if not all. */
  readonly writes?: 'r' | 'b' | '';
  /** Register operands that are XMM registers, and the one that it writes whole without reading it. */
  readonly vectors?: 'rb' | 'r' | 'b' | '';
  readonly fills?: 'r';
  /** General registers that it uses besides, as a bit mask. */
  readonly implicit?: number;
  /** Whether it ends the block by leaving the region. */
  readonly leaves?: boolean;
  /** Whether it can fault after the flags of an earlier instruction must be right. */
  readonly memory?: boolean;
}

/** Size index of a name's suffix. */
export const SIZE_OF: Readonly<Record<string, number>> = { '8': 0, '16': 1, '32': 2, '64': 3 };

/** Bit masks of the general registers that instructions use implicitly. */
export const RAX_BIT = 1 << (L.RAX >> 3);
export const RCX_BIT = 1 << (L.RCX >> 3);
export const RDX_BIT = 1 << (L.RDX >> 3);
export const RBX_BIT = 1 << (L.RBX >> 3);
export const RSI_BIT = 1 << (L.RSI >> 3);
export const RDI_BIT = 1 << (L.RDI >> 3);
export const RSP_BIT = 1 << (L.RSP >> 3);
export const RBP_BIT = 1 << (L.RBP >> 3);

/** An immediate as the signed value of its size. */
export function truncated(imm: number, size: number): number {
  return size < 2 ? (imm << (32 - (8 << size))) >> (32 - (8 << size)) : imm;
}

/** Sign-extends the i64 on the stack from a size. */
export function extend({ code }: FunctionBuilder, size: number): void {
  if (size === 3) return;
  code.op(
    (['i64.extend8_s', 'i64.extend16_s', 'i64.extend32_s'] as const)[size] ?? 'i64.extend32_s',
  );
}

/**
 * Pushes what `from` pushes shifted, and into the bits that become free what `into` pushes, as SHLD and SHRD do; with the
 * same for both it is rotated. V8's first compiler calls a function in C for the instructions that rotate; its second
 * makes one of this.
 * @param width bits of the operands
 * @param fixed by how many bits, below the width; when it is not known B64 holds it
 */
export function shiftedIn(
  { code }: FunctionBuilder,
  type: 'i32' | 'i64',
  left: boolean,
  width: number,
  fixed: number | undefined,
  from: () => unknown,
  into: () => unknown,
): void {
  const constant = (value: number): unknown => (type === 'i32' ? code.i32(value) : code.i64(value));
  const count = (): void => {
    code.get(B64);
    if (type === 'i32') code.op('i32.wrap_i64');
  };
  from();
  if (fixed === undefined) count();
  else constant(fixed);
  code.op(left ? `${type}.shl` : `${type}.shr_u`);
  into();
  constant(width - (fixed ?? 0));
  if (fixed === undefined) {
    count();
    code.op(`${type}.sub`);
  }
  code.op(left ? `${type}.shr_u` : `${type}.shl`).op(`${type}.or`);
}
