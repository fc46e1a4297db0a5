import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, encodeFunction, encodeModule, FUNCTIONS, I32, I64 } from './encoder.js';

/** Locals below 20 are i64, others i32. */
const typeOf = (local: number): number => (local < 20 ? I64 : I32);

test('a function has the locals that are used, in the order of their first use', () => {
  const code = new Code(1, typeOf);
  code.get(0).set(30).get(30).op('i64.extend_i32_u').tee(9).set(15);
  code.get(9).get(15).op('i64.add').op('i32.wrap_i64').end();
  assert.deepEqual(code.locals, [I32, I64, I64]);
  const entry = encodeFunction({ locals: code.locals, code: code.bytes.take() });
  assert.deepEqual([...entry.subarray(0, 5)], [2, 1, I32, 2, I64]);

  const type = { parameters: [I32], results: [I32] };
  const bytes = encodeModule([], type, [entry], false);
  const memory = new WebAssembly.Memory({ initial: 0, maximum: 65536, shared: true });
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  assert.deepEqual(Object.keys(exports), [FUNCTIONS]);
  const functions = exports[FUNCTIONS] as WebAssembly.Table;
  assert.equal((functions.get(0) as (value: number) => number)(21), 42);
});
