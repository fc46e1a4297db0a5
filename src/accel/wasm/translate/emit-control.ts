/** Control flow, the stack, and conditions outside branches (Intel SDM vol. 2; core/run.ts). */
import { CONDITIONS } from '../isa/integer.js';
import * as L from '../layout.js';
import { type Emit, type Emitter, RBP_BIT, RSP_BIT, SIZE_OF } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { A32, A64, R64, REGISTER, TARGET, VA } from './locals.js';

const RSP = REGISTER + (L.RSP >> 3);
const RBP = REGISTER + (L.RBP >> 3);

/** Pushes RSP or another local, in 32-bit code ESP, moved by so many bytes. */
function moved({ code, code32 }: FunctionBuilder, local: number, bytes: number): void {
  code.get(local);
  if (code32) {
    code.op('i32.wrap_i64');
    if (bytes !== 0) code.i32(bytes).op('i32.add');
    code.op('i64.extend_i32_u');
  } else if (bytes !== 0) code.i64(bytes).op('i64.add');
}

/** Pushes the low bytes of the 64-bit local `value`; RSP moves only once the store has succeeded. */
function push(
  builder: FunctionBuilder,
  size: number,
  value: number,
  cursor: Parameters<Emit>[2],
): void {
  // Stacks are flat.
  moved(builder, RSP, -(1 << size));
  builder.write(size, value, cursor, () => builder.code.get(VA).set(RSP));
}

const sizeOf = (match: RegExpExecArray, group: number): number => SIZE_OF[match[group] ?? ''] ?? 3;

function pushRegister(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 1);
  return (builder, operation, cursor) => {
    builder.register(operation.b);
    builder.code.set(R64);
    push(builder, size, R64, cursor);
  };
}

function pushImmediate(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 1);
  return (builder, operation, cursor) => {
    builder.code.i64(operation.imm).set(R64);
    push(builder, size, R64, cursor);
  };
}

function pushMemory(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 1);
  return (builder, operation, cursor) => {
    builder.address(operation, cursor);
    builder.readable(size, cursor);
    builder.loadPointer(size, false);
    builder.code.set(R64);
    push(builder, size, R64, cursor);
  };
}

function pop(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 1);
  return (builder, operation, cursor) => {
    moved(builder, RSP, 0);
    builder.readable(size, cursor);
    moved(builder, RSP, 1 << size);
    builder.code.set(RSP);
    builder.loadPointer(size, false);
    builder.code.set(REGISTER + (operation.b >> 3));
  };
}

function leave(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 1);
  return (builder, _operation, cursor) => {
    moved(builder, RBP, 0);
    builder.readable(size, cursor);
    moved(builder, RBP, 1 << size);
    builder.code.set(RSP);
    builder.loadPointer(size, false);
    builder.code.set(RBP);
  };
}

/** Pushes the return address, then goes to the target. */
function call(match: RegExpExecArray): Emit {
  const form = match[1] ?? '';
  const size = sizeOf(match, 2);
  return (builder, operation, cursor) => {
    const { code } = builder;
    const { block, offset } = cursor;
    if (form !== '') {
      builder.readRm(operation, cursor, size, false);
      code.set(A64);
      builder.checkTarget(A64, cursor);
    }
    builder.linear(offset + block.length);
    code.set(R64);
    moved(builder, RSP, -(1 << size));
    const pushed = (): void => {
      moved(builder, RSP, -(1 << size));
      code.set(RSP);
    };
    builder.writeCall(size, R64, cursor, pushed, () => {
      // Another way out is at an instruction boundary, and looks, anyway.
      if (!block.enters) return;
      builder.ifDead(() => {
        pushed();
        builder.leaveAt(offset + operation.imm, 0);
      });
    });
    if (block.enters) return;
    if (cursor.returns) {
      builder.callRegion(cursor, () => {
        if (form === '') builder.linear(offset + operation.imm);
        else code.get(A64);
      });
    } else if (form === '') builder.leave(offset + operation.imm);
    else {
      code.get(A64).set(TARGET);
      builder.leaveIndirect();
    }
  };
}

function jump(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 2);
  return (builder, operation, cursor) => {
    builder.readRm(operation, cursor, size, false);
    builder.code.set(TARGET);
    builder.checkTarget(TARGET, cursor);
    cursor.select();
  };
}

function ret(match: RegExpExecArray): Emit {
  const size = sizeOf(match, 1);
  return (builder, operation, cursor) => {
    moved(builder, RSP, 0);
    builder.readable(size, cursor);
    builder.loadPointer(size, false);
    builder.code.set(TARGET);
    builder.checkTarget(TARGET, cursor);
    // RET has no immediate: its field is 0.
    moved(builder, RSP, (1 << size) + (operation.imm & 0xffff));
    builder.code.set(RSP);
    cursor.select();
  };
}

function setcc(match: RegExpExecArray): Emit {
  const condition = CONDITIONS.indexOf(match[1] ?? '');
  return (builder, operation, cursor) => {
    builder.condition(condition);
    builder.code.op('i64.extend_i32_u');
    if (!operation.memory) {
      builder.writeRegister(operation.b, 0);
      return;
    }
    builder.code.set(R64);
    builder.address(operation, cursor);
    builder.write(0, R64, cursor);
  };
}

function cmov(match: RegExpExecArray): Emit {
  const condition = CONDITIONS.indexOf(match[1] ?? '');
  return (builder, operation, cursor) => {
    const { code } = builder;
    const { size } = operation;
    builder.readRm(operation, cursor, size, false);
    code.set(A64);
    builder.condition(condition);
    code.set(A32);
    code.get(A64);
    builder.readRegister(operation.r, size, false);
    code.get(A32).select();
    // A 32-bit destination loses its upper half even when the condition is false.
    builder.writeRegister(operation.r, size);
  };
}

export const CONTROL_EMITTERS: readonly Emitter[] = [
  {
    pattern: /^PUSH_R_(32|64)$/,
    emit: pushRegister,
    flags: 'none',
    operands: 'b',
    writes: '',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^PUSH_I_(32|64)$/,
    emit: pushImmediate,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^PUSH_M_(32|64)$/,
    emit: pushMemory,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^POP_R_(32|64)$/,
    emit: pop,
    flags: 'none',
    operands: 'b',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^LEAVE_(32|64)$/,
    emit: leave,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT | RBP_BIT,
    memory: true,
  },
  {
    pattern: /^CALL(_R|_M|)_(32|64)$/,
    emit: call,
    flags: 'none',
    operands: 'b',
    implicit: RSP_BIT,
    memory: true,
    leaves: true,
  },
  {
    pattern: /^JMP_([RM])_(32|64)$/,
    emit: jump,
    flags: 'none',
    operands: 'b',
    memory: true,
    leaves: true,
  },
  {
    pattern: /^RET(?:_I)?_(32|64)$/,
    emit: ret,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT,
    memory: true,
    leaves: true,
  },
  {
    pattern: /^SET(O|NO|B|AE|E|NE|BE|A|S|NS|P|NP|L|GE|LE|G)_[RM]$/,
    emit: setcc,
    flags: 'read',
    operands: 'b',
  },
  {
    pattern: /^CMOV(O|NO|B|AE|E|NE|BE|A|S|NS|P|NP|L|GE|LE|G)_(?:RR|RM)$/,
    emit: cmov,
    flags: 'read',
    operands: 'rb',
    writes: 'r',
  },
];
