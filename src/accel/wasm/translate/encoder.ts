/**
 * A WebAssembly encoder for what the translator emits (WebAssembly Core Specification 2.0, chapter 5
 * "Binary Format"): function bodies instruction by instruction, and modules of many such functions.
 */
import { VECTOR_OPCODES, type VectorName } from './vector-opcodes.js';

/** Value types. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const F64 = 0x7c;
export const V128 = 0x7b;
/** Block type of a block without result. */
const EMPTY = 0x40;

/** Opcodes of the numeric instructions and memory accesses in use, by their text names. */
export const OPCODES = {
  'i32.load': 0x28,
  'i64.load': 0x29,
  'f32.load': 0x2a,
  'f64.load': 0x2b,
  'i32.load8_s': 0x2c,
  'i32.load8_u': 0x2d,
  'i32.load16_s': 0x2e,
  'i32.load16_u': 0x2f,
  'i64.load8_s': 0x30,
  'i64.load8_u': 0x31,
  'i64.load16_s': 0x32,
  'i64.load16_u': 0x33,
  'i64.load32_s': 0x34,
  'i64.load32_u': 0x35,
  'i32.store': 0x36,
  'i64.store': 0x37,
  'f32.store': 0x38,
  'f64.store': 0x39,
  'i32.store8': 0x3a,
  'i32.store16': 0x3b,
  'i64.store8': 0x3c,
  'i64.store16': 0x3d,
  'i64.store32': 0x3e,
  drop: 0x1a,
  'i32.eqz': 0x45,
  'i32.eq': 0x46,
  'i32.ne': 0x47,
  'i32.lt_s': 0x48,
  'i32.lt_u': 0x49,
  'i32.gt_s': 0x4a,
  'i32.gt_u': 0x4b,
  'i32.le_s': 0x4c,
  'i32.le_u': 0x4d,
  'i32.ge_s': 0x4e,
  'i32.ge_u': 0x4f,
  'i64.eqz': 0x50,
  'i64.eq': 0x51,
  'i64.ne': 0x52,
  'i64.lt_s': 0x53,
  'i64.lt_u': 0x54,
  'i64.gt_s': 0x55,
  'i64.gt_u': 0x56,
  'i64.le_s': 0x57,
  'i64.le_u': 0x58,
  'i64.ge_s': 0x59,
  'i64.ge_u': 0x5a,
  'f64.eq': 0x61,
  'f64.lt': 0x63,
  'f64.gt': 0x64,
  'f64.ge': 0x66,
  'i32.add': 0x6a,
  'i32.sub': 0x6b,
  'i32.mul': 0x6c,
  'i32.and': 0x71,
  'i32.or': 0x72,
  'i32.xor': 0x73,
  'i32.shl': 0x74,
  'i32.shr_s': 0x75,
  'i32.shr_u': 0x76,
  'i64.clz': 0x79,
  'i64.ctz': 0x7a,
  'i64.popcnt': 0x7b,
  'i64.add': 0x7c,
  'i64.sub': 0x7d,
  'i64.mul': 0x7e,
  'i64.div_s': 0x7f,
  'i64.div_u': 0x80,
  'i64.rem_s': 0x81,
  'i64.rem_u': 0x82,
  'i64.and': 0x83,
  'i64.or': 0x84,
  'i64.xor': 0x85,
  'i64.shl': 0x86,
  'i64.shr_s': 0x87,
  'i64.shr_u': 0x88,
  'f64.abs': 0x99,
  'f64.sqrt': 0x9f,
  'f64.add': 0xa0,
  'f64.sub': 0xa1,
  'f64.mul': 0xa2,
  'f64.div': 0xa3,
  'i32.wrap_i64': 0xa7,
  'i64.trunc_f64_s': 0xb0,
  'f32.demote_f64': 0xb6,
  'f64.convert_i64_s': 0xb9,
  'f64.promote_f32': 0xbb,
  'i64.extend_i32_s': 0xac,
  'i64.extend_i32_u': 0xad,
  'i32.extend8_s': 0xc0,
  'i32.extend16_s': 0xc1,
  'i64.extend8_s': 0xc2,
  'i64.extend16_s': 0xc3,
  'i64.extend32_s': 0xc4,
} as const;

export type OpName = keyof typeof OPCODES;

/** A growing byte string. */
export class Bytes {
  #bytes = new Uint8Array(1024);
  length = 0;

  #room(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.length++] = value;
  }

  append(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Unsigned LEB128 of a value below 2^32. */
  unsigned(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  /** Signed LEB128 of a 32-bit value. */
  signed(value: number): void {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  /** Signed LEB128 of a 64-bit value. */
  signed64(value: bigint): void {
    let rest = BigInt.asIntN(64, value);
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  name(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.unsigned(bytes.length);
    this.append(bytes);
  }

  take(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }
}

/**
 * The body of one function. Labels are counted by `depth`: the number of open blocks. Locals beyond the parameters have
 * any numbers; the function has those that are used, in the order of their first use.
 */
export class Code {
  readonly bytes = new Bytes();
  /** Types of the function's locals beyond its parameters. */
  readonly locals: number[] = [];
  readonly #parameters: number;
  readonly #typeOf: (local: number) => number;
  /** By the locals' numbers: which of the function's they are. */
  readonly #places: number[] = [];
  /** Open blocks, loops and ifs. */
  depth = 0;

  constructor(parameters: number, typeOf: (local: number) => number) {
    this.#parameters = parameters;
    this.#typeOf = typeOf;
  }

  #local(opcode: number, local: number): this {
    let place = local;
    if (local >= this.#parameters) {
      place = this.#places[local] ??= this.#parameters + this.locals.push(this.#typeOf(local)) - 1;
    }
    this.bytes.byte(opcode);
    this.bytes.unsigned(place);
    return this;
  }

  op(name: OpName): this {
    this.bytes.byte(OPCODES[name]);
    return this;
  }

  /** A memory access with a constant offset; alignment is only a hint and given as 1. */
  memory(name: OpName, offset: number): this {
    this.bytes.byte(OPCODES[name]);
    this.bytes.byte(0);
    this.bytes.unsigned(offset);
    return this;
  }

  /** i32.atomic.rmw.add with a constant offset, a multiple of 4 (Threads proposal). */
  atomicAdd(offset: number): this {
    this.bytes.byte(0xfe);
    this.bytes.byte(0x1e);
    this.bytes.byte(2);
    this.bytes.unsigned(offset);
    return this;
  }

  i32(value: number): this {
    this.bytes.byte(0x41);
    this.bytes.signed(value);
    return this;
  }

  i64(value: bigint | number): this {
    this.bytes.byte(0x42);
    if (typeof value === 'number' && value === (value | 0)) this.bytes.signed(value);
    else this.bytes.signed64(BigInt(value));
    return this;
  }

  f64(value: number): this {
    this.bytes.byte(0x44);
    this.bytes.append(new Uint8Array(Float64Array.of(value).buffer));
    return this;
  }

  /** A vector instruction with its lane numbers, if it has any. */
  vector(name: VectorName, lanes: readonly number[] = []): this {
    this.bytes.byte(0xfd);
    this.bytes.unsigned(VECTOR_OPCODES[name]);
    for (const lane of lanes) this.bytes.byte(lane);
    return this;
  }

  /** A vector's memory access with a constant offset. */
  vectorMemory(name: VectorName, offset: number): this {
    this.vector(name).bytes.byte(0);
    this.bytes.unsigned(offset);
    return this;
  }

  get(local: number): this {
    return this.#local(0x20, local);
  }

  set(local: number): this {
    return this.#local(0x21, local);
  }

  tee(local: number): this {
    return this.#local(0x22, local);
  }

  block(): this {
    this.bytes.byte(0x02);
    this.bytes.byte(EMPTY);
    this.depth++;
    return this;
  }

  loop(): this {
    this.bytes.byte(0x03);
    this.bytes.byte(EMPTY);
    this.depth++;
    return this;
  }

  /** Takes the condition from the stack. */
  if(): this {
    this.bytes.byte(0x04);
    this.bytes.byte(EMPTY);
    this.depth++;
    return this;
  }

  else(): this {
    this.bytes.byte(0x05);
    return this;
  }

  end(): this {
    this.bytes.byte(0x0b);
    this.depth--;
    return this;
  }

  /** Branches to the block that was opened when `depth` was `level` (its own depth minus 1). */
  br(level: number): this {
    this.bytes.byte(0x0c);
    this.bytes.unsigned(this.depth - 1 - level);
    return this;
  }

  brIf(level: number): this {
    this.bytes.byte(0x0d);
    this.bytes.unsigned(this.depth - 1 - level);
    return this;
  }

  /** Takes an index from the stack and branches to the level there, or to `otherwise` beyond the last. */
  brTable(levels: readonly number[], otherwise: number): this {
    this.bytes.byte(0x0e);
    this.bytes.unsigned(levels.length);
    for (const level of levels) this.bytes.unsigned(this.depth - 1 - level);
    this.bytes.unsigned(this.depth - 1 - otherwise);
    return this;
  }

  call(index: number): this {
    this.bytes.byte(0x10);
    this.bytes.unsigned(index);
    return this;
  }

  select(): this {
    this.bytes.byte(0x1b);
    return this;
  }

  unreachable(): this {
    this.bytes.byte(0x00);
    return this;
  }

  return(): this {
    this.bytes.byte(0x0f);
    return this;
  }

  drop(): this {
    this.bytes.byte(0x1a);
    return this;
  }
}

/** Type of an imported function. */
export interface FunctionType {
  readonly parameters: readonly number[];
  readonly results: readonly number[];
}

/** One function of a module: the types of its locals beyond the parameters, and its code. */
export interface ModuleFunction {
  readonly locals: readonly number[];
  readonly code: Uint8Array;
}

/** An entry of a module's code section, without its length. */
export function encodeFunction({ locals, code }: ModuleFunction): Uint8Array {
  const entry = new Bytes();
  const starts = locals.flatMap((type, index) => (type === locals[index - 1] ? [] : [index]));
  entry.unsigned(starts.length);
  starts.forEach((start, index) => {
    entry.unsigned((starts[index + 1] ?? locals.length) - start);
    entry.byte(locals[start] ?? I32);
  });
  entry.append(code);
  return entry.take();
}

/** The type of what is in a table. */
const FUNCTION_REFERENCE = 0x70;
/** The export of a module: the table of its functions. */
export const FUNCTIONS = 'functions';

/** A compilation hint: to be compiled at once, by the optimising compiler only (WebAssembly proposal "Compilation Hints"). */
const EAGER_OPTIMISED = 0x2a;

/**
 * A module of functions as `encodeFunction` gives them. It imports a shared memory as `env.memory` and
 * functions as `core.<name>`, and exports a table of its functions: of what is in a table V8 makes an object of
 * JavaScript when it is asked for, of exports all of them in each instance, 2 µs each.
 */
export function encodeModule(
  imports: readonly (readonly [name: string, type: FunctionType])[],
  type: FunctionType,
  functions: readonly Uint8Array[],
  optimised: boolean,
): Uint8Array {
  const module = new Bytes();
  module.append(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  const section = (id: number, fill: (body: Bytes) => void): void => {
    const body = new Bytes();
    fill(body);
    module.byte(id);
    module.unsigned(body.length);
    module.append(body.take());
  };
  section(1, (body) => {
    body.unsigned(imports.length + 1);
    for (const { parameters, results } of [...imports.map(([, imported]) => imported), type]) {
      body.byte(0x60);
      body.unsigned(parameters.length);
      for (const parameter of parameters) body.byte(parameter);
      body.unsigned(results.length);
      for (const result of results) body.byte(result);
    }
  });
  section(2, (body) => {
    body.unsigned(imports.length + 1);
    body.name('env');
    body.name('memory');
    body.byte(2);
    body.byte(3);
    body.unsigned(0);
    body.unsigned(65536);
    imports.forEach(([name], index) => {
      body.name('core');
      body.name(name);
      body.byte(0);
      body.unsigned(index);
    });
  });
  section(3, (body) => {
    body.unsigned(functions.length);
    for (const _ of functions) body.unsigned(imports.length);
  });
  section(4, (body) => {
    body.unsigned(1);
    body.byte(FUNCTION_REFERENCE);
    body.byte(0);
    body.unsigned(functions.length);
  });
  section(7, (body) => {
    body.unsigned(1);
    body.name(FUNCTIONS);
    body.byte(1);
    body.unsigned(0);
  });
  section(9, (body) => {
    body.unsigned(1);
    body.unsigned(0);
    // From place 0 on: i32.const 0, end.
    body.append(Uint8Array.of(0x41, 0, 0x0b));
    body.unsigned(functions.length);
    functions.forEach((_, index) => {
      body.unsigned(imports.length + index);
    });
  });
  if (optimised) {
    section(0, (body) => {
      body.name('compilationHints');
      body.unsigned(functions.length);
      for (const _ of functions) body.byte(EAGER_OPTIMISED);
    });
  }
  section(10, (body) => {
    body.unsigned(functions.length);
    for (const entry of functions) {
      body.unsigned(entry.length);
      body.append(entry);
    }
  });
  return module.take();
}
