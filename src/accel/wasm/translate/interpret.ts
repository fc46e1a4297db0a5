/**
 * Calls of the interpreter's routines for instructions that go on with the next one or fault: only what
 * the routine reads is brought into memory, and only what it writes taken from there.
 */
import * as L from '../layout.js';
import {
  type Emit,
  type Emitter,
  RAX_BIT,
  RBP_BIT,
  RBX_BIT,
  RCX_BIT,
  RDI_BIT,
  RDX_BIT,
  RSI_BIT,
  RSP_BIT,
} from './emitter.js';
import type { FunctionBuilder } from './function-builder.js';
import { CONTEXT, CPU, EXECUTE, STATUS, X87_REGISTERS } from './locals.js';
import type { Operation } from './region.js';
import type { Cursor } from './region-frame.js';

/** What a routine looks at and changes, besides the registers of a memory operand's address. */
export interface Effects {
  /** General registers that it reads, and writes, as bit masks. */
  readonly reads?: number;
  readonly writes?: number;
  /** Register operands that are general registers: which of r and b, when it is a register. */
  readonly operands?: 'rb' | 'r' | 'b';
  /** What it does with the arithmetic flags; 'all': sets all of them, and leaves them in FLAGS. */
  readonly flags?: 'read' | 'some' | 'all';
  /** Whether the register operands may be XMM registers that it writes. */
  readonly vectors?: boolean;
  /** Whether it may write guest memory. */
  readonly stores?: boolean;
  /** Whether it asks for its own address. */
  readonly rip?: boolean;
}

const bit = (slot: number): number => (slot < L.RIP ? 1 << (slot >> 3) : 0);

/** Writes the call. */
export function callRoutine(
  builder: FunctionBuilder,
  operation: Operation,
  cursor: Cursor,
  { reads = 0, writes = 0, operands, flags, vectors, stores, rip }: Effects,
): void {
  const { code } = builder;
  let written = writes;
  if (operands?.includes('r')) written |= bit(operation.r);
  if (operands?.includes('b') && !operation.memory) written |= bit(operation.b);
  // A register that is written in part, or not at all, has to be right before.
  let read = reads | written;
  if (operation.memory) read |= bit(operation.b) | bit(operation.x);
  builder.storeRegisters(read);
  if (flags === 'read' || flags === 'some') builder.syncFlags();
  if (rip || (operation.memory && operation.b === L.RIP)) {
    code.get(CPU);
    builder.linear(cursor.offset);
    code.memory('i64.store', L.RIP);
  }
  code.get(CPU).get(CONTEXT).i32(builder.record(operation.record)).op('i32.add').i32(operation.op);
  code.call(EXECUTE).set(STATUS);
  // A repeated string instruction that stops half way has changed some.
  builder.loadRegisters(written);
  builder.leaveUnlessNext(cursor);
  if (vectors) builder.loadVectors((1 << (operation.r >> 4)) | (1 << (operation.b >> 4)));
  if (flags === 'all') builder.setExplicit();
  if (flags === 'some') {
    builder.loadFlags();
    builder.kind = undefined;
  }
  if (stores) builder.leaveIfDead(cursor);
}

/** An instruction that is always the interpreter's, with these effects. */
function routine(pattern: RegExp, effects: Effects): Emitter {
  const { flags } = effects;
  return {
    pattern,
    emit: () => (builder, operation, cursor) => callRoutine(builder, operation, cursor, effects),
    flags: flags === undefined ? 'none' : flags === 'all' ? 'set' : 'read',
    operands: '',
    memory: true,
  };
}

const POINTERS = RCX_BIT | RSI_BIT | RDI_BIT;

/** A register form of x87: the common case has a routine of its own. */
const registerForm: Emit = (builder, operation, cursor) => {
  const { code } = builder;
  code.get(CPU).i32(operation.imm & 0x1ff);
  builder.linear(cursor.offset + operation.off);
  code.call(X87_REGISTERS).op('i32.eqz').if();
  callRoutine(builder, operation, cursor, { rip: true });
  code.end();
};

/** Register forms of x87 (core/x87.ts) that have to do with flags or AX: FCMOVcc, FCOMI and the like, FNSTSW AX. */
const FLAGS_OR_AX = [
  [0o20, 0o21, 0o22, 0o23, 0o30, 0o31, 0o32, 0o33],
  [0o35, 0o36, 0o74, 0o75, 0o76],
].flat();

/** Effects of what has no emitter of its own. */
export const ROUTINES: readonly Emitter[] = [
  routine(/^MUL$|^IMUL1$/, {
    operands: 'b',
    reads: RAX_BIT,
    writes: RAX_BIT | RDX_BIT,
    flags: 'some',
  }),
  routine(/^I?DIV$/, { operands: 'b', reads: RAX_BIT | RDX_BIT, writes: RAX_BIT | RDX_BIT }),
  routine(/^(?:SH[LR]|SAR|RO[LR]|RC[LR])_(?:IMM|ONE|CL)(?:_\d+)?$/, {
    operands: 'b',
    reads: RCX_BIT,
    flags: 'some',
    stores: true,
  }),
  routine(/^SH[LR]D_(?:IMM|CL)$/, { operands: 'rb', reads: RCX_BIT, flags: 'some', stores: true }),
  routine(/^BT[SRC]?_[RI]$/, { operands: 'rb', flags: 'some', stores: true }),
  routine(/^CMPXCHG8B$/, {
    reads: RAX_BIT | RBX_BIT | RCX_BIT | RDX_BIT,
    writes: RAX_BIT | RDX_BIT,
    flags: 'some',
    stores: true,
  }),
  routine(/^(?:CLC|STC|CMC)$/, { flags: 'some' }),
  routine(/^SAHF$/, { reads: RAX_BIT, flags: 'some' }),
  routine(/^LAHF$|^SALC$/, { writes: RAX_BIT, flags: 'read' }),
  routine(/^(?:CLD|STD|CLI)$/, {}),
  routine(/^XLAT$/, { reads: RBX_BIT, writes: RAX_BIT }),
  routine(/^MOV_AO$/, { writes: RAX_BIT }),
  routine(/^MOV_OA$/, { reads: RAX_BIT, stores: true }),
  routine(/^PUSHF$/, { writes: RSP_BIT, flags: 'read', stores: true }),
  routine(/^POP_RM$/, { operands: 'b', writes: RSP_BIT, stores: true }),
  routine(/^ENTER$/, { writes: RSP_BIT | RBP_BIT, stores: true }),
  routine(/^MOV_ES$/, { operands: 'b', stores: true }),
  routine(/^RDTSC$/, { writes: RAX_BIT | RDX_BIT }),
  routine(/^MOVS$/, { writes: POINTERS, stores: true }),
  routine(/^CMPS$/, { writes: POINTERS, flags: 'some' }),
  routine(/^STOS$/, { reads: RAX_BIT, writes: RCX_BIT | RDI_BIT, stores: true }),
  routine(/^LODS$/, { writes: RAX_BIT | RCX_BIT | RSI_BIT }),
  routine(/^SCAS$/, { reads: RAX_BIT, writes: RCX_BIT | RDI_BIT, flags: 'some' }),
  routine(/^(?:ADD|SUB|MUL|DIV|MIN|MAX|SQRT|CMP|RSQRT|RCP)[PS][SD]$/, { vectors: true }),
  routine(/^CVTT?S[SD]2SI$/, { operands: 'r' }),
  routine(/^CVTSI2S[SD]$|^PINSRW_[XP]$|^MOVD_PE$/, { operands: 'b', vectors: true }),
  routine(/^CVT/, { vectors: true }),
  routine(/^PEXTRW_P$|^PMOVMSKB_P$/, { operands: 'r' }),
  routine(/^MOVD_EP$/, { operands: 'b', stores: true }),
  routine(/^MASKMOV(?:DQU|Q)$/, { reads: RDI_BIT, stores: true }),
  routine(/^P[A-Z]+_(?:[XP]I?)$|^PSHUFW$|^MOVQ_PQ$|^MOVQ2DQ$|^MOVDQ2Q$|^EMMS$/, { vectors: true }),
  routine(/^(?:ADDSUB|HADD|HSUB|DP|ROUND)[PS][SD]$/, { vectors: true }),
  routine(/^(?:INSERTPS|PHMINPOSUW|MPSADBW|PCLMULQDQ|AES[A-Z]+)$/, { vectors: true }),
  routine(/^PCMP[EI]STRI$/, { reads: RAX_BIT | RDX_BIT, writes: RCX_BIT, flags: 'all' }),
  routine(/^CRC32(?:_B)?$/, { operands: 'rb' }),
  routine(/^MOVBE$/, { operands: 'r' }),
  routine(/^MOVBE_STORE$/, { operands: 'r', stores: true }),
  routine(/^AD[CO]X$/, { operands: 'rb', flags: 'some' }),
  routine(/^(?:LDMXCSR|FENCE|CLFLUSH)$/, {}),
  routine(/^STMXCSR$|^MOVQ_MP$/, { stores: true }),
  {
    ...routine(/^X87_REGISTER$/, {}),
    emit: () => registerForm,
    covers: ({ imm }) => !FLAGS_OR_AX.includes((imm >> 3) & 0x3f),
  },
  routine(/^X87_REGISTER$/, { writes: RAX_BIT, flags: 'some', rip: true }),
  routine(/^X87_MEMORY$/, { stores: true, rip: true }),
];
