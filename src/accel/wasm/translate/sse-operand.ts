/** What SSE instructions have in common: XMM registers in the vCPU block, operands of 16 bytes. */
import * as L from '../layout.js';
import type { Emit } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { CPU, EXECUTE, POINTER } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';
import type { VectorName } from './vector-opcodes.js';

const CR0_EM_TS = 0x0c;
const CR4_OSFXSR = 0x200;

/**
 * Whether SSE instructions run is looked at by the first one of a block: what changes it ends a block.
 * The interpreter's routine raises the exception.
 */
export function sse(emit: Emit): Emit {
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
export function xmm({ code }: FunctionBuilder, slot: number): void {
  code.get(CPU).vectorMemory('v128.load', L.XMM + slot);
}

/** Makes the r/m operand of 16 bytes ready; returns what pushes it, or part of it. */
export function source16(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  aligned = true,
): (load?: VectorName) => void {
  const { code } = builder;
  if (!operation.memory) {
    return (load = 'v128.load') => {
      code.get(CPU).vectorMemory(load, L.XMM + operation.b);
    };
  }
  builder.address(operation, cursor);
  builder.readable16(aligned, cursor);
  return (load = 'v128.load') => {
    code.get(POINTER).vectorMemory(load, 0);
  };
}

/** Makes a scalar r/m operand of `1 << size` bytes ready; returns what pushes the base of its address, and the offset. */
export function sourceLow(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  size: number,
): readonly [local: number, offset: number] {
  if (!operation.memory) return [CPU, L.XMM + operation.b];
  builder.address(operation, cursor);
  builder.readable(size, cursor);
  return [POINTER, 0];
}
