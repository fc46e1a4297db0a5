/** What SSE instructions have in common: XMM registers in the vCPU block, operands of 16 bytes. */
import * as L from '../layout.js';
import type { Emit, Emitter } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { CPU, EXECUTE, POINTER } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';

const CR0_EM_TS = 0x0c;
const CR4_OSFXSR = 0x200;

/**
 * Whether SSE instructions run is looked at by the first one of a block: what changes it ends a block.
 * The interpreter's routine raises the exception.
 */
function sse(emit: Emit): Emit {
  return (builder, operation, cursor, flags) => {
    const { code } = builder;
    if (builder.sseBlock !== cursor.block) {
      builder.sseBlock = cursor.block;
      code.get(CPU).memory('i32.load', L.CR0).i32(CR0_EM_TS).op('i32.and');
      code.get(CPU).memory('i32.load', L.CR4).i32(CR4_OSFXSR).op('i32.and');
      code.op('i32.eqz').op('i32.or').if();
      code.get(CPU).i32(0).i32(operation.op).call(EXECUTE).drop();
      builder.fault(cursor);
      code.end();
    }
    emit(builder, operation, cursor, flags);
  };
}

/** Pushes an XMM register. */
export function xmm(builder: FunctionBuilder, slot: number): void {
  builder.code.get(builder.vector(slot));
}

/** Sets an XMM register to what `value` pushes, in its local and in memory. */
export function setXmm(builder: FunctionBuilder, slot: number, value: () => void): void {
  const { code } = builder;
  code.get(CPU);
  value();
  code.tee(builder.vector(slot)).vectorMemory('v128.store', L.XMM + slot);
}

/** Makes the r/m operand of 16 bytes ready; returns what pushes it. */
export function source16(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  aligned = true,
): () => void {
  if (!operation.memory) return () => xmm(builder, operation.b);
  builder.address(operation, cursor);
  builder.readable16(aligned, cursor);
  return () => {
    builder.code.get(POINTER).vectorMemory('v128.load', 0);
  };
}

/** A family of instructions on XMM registers. */
export function sseEmitter(
  pattern: RegExp,
  emit: (match: RegExpExecArray) => Emit,
  more: Partial<Emitter> = {},
): Emitter {
  return {
    flags: 'none',
    operands: '',
    memory: true,
    vectors: 'rb',
    ...more,
    pattern,
    emit: (match) => sse(emit(match)),
  };
}
