/** The locals of a translated function, and what it calls in the core. */
import { type FunctionType, I32, I64 } from './encoder.js';

/** Parameters and locals of a translated function; see `FUNCTION_TYPE`. */
export const CPU = 0;
export const LEFT = 1;
export const CONTEXT = 2;
export const CC_OP = 3;
export const POINTER = 4;
export const ENTRY = 5;
export const A32 = 6;
export const STATUS = 7;
export const LINK = 8;
/** The TLB set of the current privilege. */
export const SET = 9;
/** Where in the page and with how many instructions unspent a way out leaves. */
export const PLACE = 10;
/** Layout position that a loop entered beside its head goes on to; else 0. */
export const INTO = 11;
/** Bit n: page n of the region has been found where it must be. */
export const VALID = 12;
export const VA = 13;
export const A64 = 14;
export const B64 = 15;
export const R64 = 16;
export const TARGET = 17;
export const CC_A = 18;
export const CC_B = 19;
export const CC_RES = 20;
/** Linear address of the page that the root lies in. */
export const PAGE = 21;
/** First of sixteen general registers. */
export const REGISTER = 22;
export const I32_LOCALS = 10;
export const I64_LOCALS = 25;
/** Three 64-bit floating-point locals behind the others, and the XMM registers that a function uses. */
export const FLOAT = 3 + I32_LOCALS + I64_LOCALS;
export const F64_LOCALS = 3;
export const VECTOR = FLOAT + F64_LOCALS;

/** (vCPU block, instructions left, region context) → instructions left. */
export const FUNCTION_TYPE: FunctionType = { parameters: [I32, I32, I32], results: [I32] };

/** What translated code calls in the core (core/index.ts). */
export const CORE_IMPORTS: readonly (readonly [string, FunctionType])[] = [
  ['readMiss', { parameters: [I32, I64, I32], results: [I32] }],
  ['modifyMiss', { parameters: [I32, I64, I32], results: [I32] }],
  ['storeMiss', { parameters: [I32, I64, I64, I32], results: [I32] }],
  ['commit', { parameters: [I32], results: [] }],
  ['execute', { parameters: [I32, I32, I32], results: [I32] }],
  ['storeFlags', { parameters: [I32, I32, I64, I64, I64], results: [] }],
  ['lazyCarry', { parameters: [I32, I32, I64, I64, I64], results: [I32] }],
  ['lazyCondition', { parameters: [I32, I32, I32, I64, I64, I64], results: [I32] }],
  ['setSome', { parameters: [I32, I32, I32], results: [] }],
  ['read16Miss', { parameters: [I32, I64, I32], results: [I32] }],
  ['store16Miss', { parameters: [I32, I64, I32, I32], results: [I32] }],
  ['wild', { parameters: [I32], results: [I32] }],
  ['mulHigh', { parameters: [I64, I64], results: [I64] }],
  ['x87Registers', { parameters: [I32, I32, I64], results: [I32] }],
  ['callRegion', { parameters: [I32, I32, I32, I32, I64, I64], results: [I32] }],
  ['enterPage', { parameters: [I32, I32, I32, I64], results: [I32] }],
];

const importIndex = (name: string): number => CORE_IMPORTS.findIndex(([known]) => known === name);
export const READ_MISS = importIndex('readMiss');
export const MODIFY_MISS = importIndex('modifyMiss');
export const STORE_MISS = importIndex('storeMiss');
export const COMMIT = importIndex('commit');
export const EXECUTE = importIndex('execute');
export const STORE_FLAGS = importIndex('storeFlags');
export const LAZY_CARRY = importIndex('lazyCarry');
export const LAZY_CONDITION = importIndex('lazyCondition');
export const SET_SOME = importIndex('setSome');
export const READ16_MISS = importIndex('read16Miss');
export const STORE16_MISS = importIndex('store16Miss');
export const WILD = importIndex('wild');
export const MUL_HIGH = importIndex('mulHigh');
export const X87_REGISTERS = importIndex('x87Registers');
export const CALL_REGION = importIndex('callRegion');
export const ENTER_PAGE = importIndex('enterPage');

/** Kinds of lazy flags (core/flags.ts). */
export const FLAG_KIND = {
  explicit: 0,
  sub: 1,
  logic: 2,
  add: 3,
  sbb: 4,
  inc: 5,
  dec: 6,
  parts: 7,
  mul64: 8,
} as const;
