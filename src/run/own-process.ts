/** For the programs of Pando: what may be set for a whole process is theirs to set. */
export { ownProcess } from '../accel/wasm/translate/v8-flags.js';
