/**
 * V8's flags for translating. They hold for a whole process, with all its threads, so they are set only in
 * Pando's own: a program that uses the library keeps V8 as it is, and its guests translate a little slower.
 */
import { setFlagsFromString } from 'node:v8';
import { isOwnProcess } from './own-process.js';

/** How V8 compiles translations. */
const V8_FLAGS = [
  // Compiled by the translator, a module is ready to run wherever it is posted.
  '--no-wasm-lazy-compilation',
  // The optimising compiler takes twenty times as long: only for what stays hot.
  '--wasm-tiering-budget=300000000',
  // Wide regions are for what stays hot, and slow as the first compiler leaves them.
  '--experimental-wasm-compilation-hints',
];

/** How V8 compiles what translates, until version 12 put a compiler in between that takes little time. */
const V8_FLAGS_BEFORE_12 = [
  // Seven times V8's own. A boot is over before most of what V8 would optimise of the translator has paid for that, and
  // four threads that do so take the processors from the guest.
  '--interrupt-budget=500000',
];

/** V8 complains of flags that it does not know. */
function v8Flags(): readonly string[] {
  const [major] = process.versions.v8.split('.');
  return Number(major) < 12 ? [...V8_FLAGS, ...V8_FLAGS_BEFORE_12] : V8_FLAGS;
}

/** Sets the flags, in a process of Pando's. */
export function setV8Flags(): void {
  if (isOwnProcess()) for (const flag of v8Flags()) setFlagsFromString(flag);
}
