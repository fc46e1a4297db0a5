/** The locals of a translated function, and what it calls in the core. */
import { F64, type FunctionType, I32, I64, V128 } from './encoder.js';

/** Parameters of a translated function; see `FUNCTION_TYPE`. */
export const CPU = 0;
export const LEFT = 1;
export const CONTEXT = 2;
/** The TLB set of the current privilege. */
export const SET = 3;
/** Linear address of the page that the root lies in. */
export const PAGE = 4;
/** First of sixteen general registers, of which so many are parameters. */
export const REGISTER = 5;
export const REGISTERS_PASSED = 8;

/** Locals. */
export const CC_OP = 21;
export const POINTER = 22;
export const ENTRY = 23;
export const A32 = 24;
export const STATUS = 25;
export const LINK = 26;
/** Where in the page and with how many instructions unspent a way out leaves. */
export const PLACE = 27;
/** Layout position that a loop entered beside its head goes on to; else 0. */
export const INTO = 28;
/** Bit n: page n of the region has been found where it must be. */
export const VALID = 29;
export const VA = 30;
export const A64 = 31;
export const B64 = 32;
export const R64 = 33;
export const TARGET = 34;
export const CC_A = 35;
export const CC_B = 36;
export const CC_RES = 37;
/** Three 64-bit floating-point locals. */
export const FLOAT = 38;
/** First of sixteen XMM registers. */
export const VECTOR = 41;

/** Type of a local. */
export function localType(local: number): number {
  if (local >= VECTOR) return V128;
  if (local >= FLOAT) return F64;
  return local >= CC_OP && local < VA ? I32 : I64;
}

/** (vCPU block, instructions left, region context, TLB set, root's page, the first general registers) → instructions left. */
export const FUNCTION_TYPE: FunctionType = {
  parameters: [I32, I32, I32, I32, I64, ...Array<number>(REGISTERS_PASSED).fill(I64)],
  results: [I32],
};

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
