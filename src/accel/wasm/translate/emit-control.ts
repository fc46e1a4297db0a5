/** Control flow, the stack, and conditions outside branches (Intel SDM vol. 2; core/run.ts). */
import { CONDITIONS } from '../isa/integer.js';
import * as L from '../layout.js';
import { type Emit, type Emitter, RBP_BIT, RSP_BIT } from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { A32, A64, R64, REGISTER, TARGET, VA } from './locals.js';

const RSP = REGISTER + (L.RSP >> 3);
const RBP = REGISTER + (L.RBP >> 3);
const QUAD = 3;

/** Pushes the 64-bit local `value`; RSP moves only once the store has succeeded. */
function push(builder: FunctionBuilder, value: number, cursor: Parameters<Emit>[2]): void {
  const { code } = builder;
  code.get(RSP).i64(8).op('i64.sub');
  // Stacks are flat in 64-bit code.
  builder.write(QUAD, value, cursor, () => code.get(VA).set(RSP));
}

const pushRegister: Emit = (builder, operation, cursor) => {
  builder.register(operation.b);
  builder.code.set(R64);
  push(builder, R64, cursor);
};

const pushImmediate: Emit = (builder, operation, cursor) => {
  builder.code.i64(operation.imm).set(R64);
  push(builder, R64, cursor);
};

const pushMemory: Emit = (builder, operation, cursor) => {
  builder.address(operation, cursor);
  builder.readable(QUAD, cursor);
  builder.loadPointer(QUAD, false);
  builder.code.set(R64);
  push(builder, R64, cursor);
};

const pop: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  code.get(RSP);
  builder.readable(QUAD, cursor);
  code.get(RSP).i64(8).op('i64.add').set(RSP);
  builder.loadPointer(QUAD, false);
  builder.writeRegister(operation.b, QUAD);
};

const leave: Emit = (builder, _operation, cursor) => {
  const { code } = builder;
  code.get(RBP);
  builder.readable(QUAD, cursor);
  code.get(RBP).i64(8).op('i64.add').set(RSP);
  builder.loadPointer(QUAD, false);
  code.set(RBP);
};

/** Pushes the return address, then goes to the target. */
function call(match: RegExpExecArray): Emit {
  const form = match[1] ?? '';
  return (builder, operation, cursor) => {
    const { code } = builder;
    const { block, offset } = cursor;
    if (form === '_R') {
      builder.register(operation.b);
      code.set(A64);
    } else if (form === '_M') {
      builder.address(operation, cursor);
      builder.readable(QUAD, cursor);
      builder.loadPointer(QUAD, false);
      code.set(A64);
    }
    if (form !== '') builder.checkTarget(A64, cursor);
    builder.linear(offset + block.length);
    code.set(R64);
    code.get(RSP).i64(8).op('i64.sub');
    builder.writeCall(R64, cursor, () => {
      code.get(RSP).i64(8).op('i64.sub').set(RSP);
    });
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
  return (builder, operation, cursor) => {
    if (match[1] === 'R') builder.register(operation.b);
    else {
      builder.address(operation, cursor);
      builder.readable(QUAD, cursor);
      builder.loadPointer(QUAD, false);
    }
    builder.code.set(TARGET);
    builder.checkTarget(TARGET, cursor);
    builder.leaveIndirect();
  };
}

const ret: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  code.get(RSP);
  builder.readable(QUAD, cursor);
  builder.loadPointer(QUAD, false);
  code.set(TARGET);
  builder.checkTarget(TARGET, cursor);
  // RET has no immediate: its field is 0.
  code
    .get(RSP)
    .i64(8 + (operation.imm >>> 0))
    .op('i64.add')
    .set(RSP);
  builder.leaveIndirect();
};

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
    pattern: /^PUSH_R_64$/,
    emit: () => pushRegister,
    flags: 'none',
    operands: 'b',
    writes: '',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^PUSH_I_64$/,
    emit: () => pushImmediate,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^PUSH_M_64$/,
    emit: () => pushMemory,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^POP_R_64$/,
    emit: () => pop,
    flags: 'none',
    operands: 'b',
    implicit: RSP_BIT,
    memory: true,
  },
  {
    pattern: /^LEAVE_64$/,
    emit: () => leave,
    flags: 'none',
    operands: '',
    implicit: RSP_BIT | RBP_BIT,
    memory: true,
  },
  {
    pattern: /^CALL(_R|_M|)_64$/,
    emit: call,
    flags: 'none',
    operands: 'b',
    implicit: RSP_BIT,
    memory: true,
    leaves: true,
  },
  {
    pattern: /^JMP_([RM])_64$/,
    emit: jump,
    flags: 'none',
    operands: 'b',
    memory: true,
    leaves: true,
  },
  {
    pattern: /^RET(?:_I)?_64$/,
    emit: () => ret,
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
