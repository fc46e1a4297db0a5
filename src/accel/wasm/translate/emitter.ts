/** The contract between the table of operations and what writes them out. */
import * as L from '../layout.js';
import type { FunctionBuilder } from './function-builder.js';
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
  /** Register operands: which of r and b (when it is a register) it reads or writes. */
  readonly operands: 'rb' | 'r' | 'b' | '';
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
export const RSP_BIT = 1 << (L.RSP >> 3);
export const RBP_BIT = 1 << (L.RBP >> 3);
