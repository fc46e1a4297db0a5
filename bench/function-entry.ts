/**
 * What it costs to enter a function as V8's first compiler leaves it, by how many parameters and other locals it has:
 * it clears locals in a loop of the processor's own (REP STOS), which takes long to start from 128 bytes on. What
 * src/accel/wasm/translate/locals.ts passes in parameters rests on this.
 *
 *     npm run bench -- function-entry [MILLIONS]
 */
import { setFlagsFromString } from 'node:v8';
import {
  Code,
  encodeFunction,
  encodeModule,
  type FunctionType,
  I32,
  I64,
} from '#dist/accel/wasm/translate/encoder.js';
import { formatTable, styleFor } from '#dist/cli/terminal/text-table.js';

const [millions = 2] = process.argv.slice(2).map(Number);
const ROUNDS = 7;
const PARAMETERS = [0, 8, 16, 32];
const LOCALS = [0, 4, 8, 15, 16, 32];

type Exports = Record<string, (count: number) => number>;

function instantiate(bytes: Uint8Array, core: Record<string, WebAssembly.ImportValue>): Exports {
  const memory = new WebAssembly.Memory({ initial: 0, maximum: 65536, shared: true });
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  return new WebAssembly.Instance(module, { env: { memory }, core }).exports as Exports;
}

/** Nanoseconds of a call of a function that does next to nothing. */
function entry(parameters: number, locals: number): number {
  const type: FunctionType = {
    parameters: [I32, ...Array<number>(parameters).fill(I64)],
    results: [I32],
  };
  const called = new Code(type.parameters.length, () => I64);
  // A local is declared where it is used.
  for (let local = 0; local < locals; local++) called.get(type.parameters.length + local).drop();
  called.get(0).i32(1).op('i32.sub').end();
  const body = encodeFunction({ locals: called.locals, code: called.bytes.take() });
  setFlagsFromString('--liftoff-only');
  const { f0 } = instantiate(encodeModule([], type, [body], false), {});

  setFlagsFromString('--no-liftoff-only');
  const caller = new Code(1, () => I32).loop().get(0);
  for (let parameter = 0; parameter < parameters; parameter++) caller.i64(parameter);
  caller.call(0).tee(0).brIf(0).end().get(0).end();
  const loop = encodeFunction({ locals: [], code: caller.bytes.take() });
  const once: FunctionType = { parameters: [I32], results: [I32] };
  const run = instantiate(encodeModule([['called', type]], once, [loop], true), {
    called: f0 as WebAssembly.ImportValue,
  }).f0;
  if (run === undefined) throw new Error('the module exports no function');
  const nanoseconds = Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    run(millions * 1e6);
    return (performance.now() - start) / millions;
  });
  return Math.min(...nanoseconds);
}

setFlagsFromString('--no-wasm-lazy-compilation');
setFlagsFromString('--experimental-wasm-compilation-hints');
const rows = PARAMETERS.map((parameters) => [
  `${parameters}`,
  ...LOCALS.map((locals) => entry(parameters, locals).toFixed(1)),
]);
const columns = ['parameters', ...LOCALS.map((locals) => `${locals} locals`)].map((title) => ({
  title,
  align: 'right' as const,
}));
console.log('nanoseconds of a call, locals and parameters of 64 bits');
console.log(formatTable(columns, rows, styleFor(process.stdout)));
