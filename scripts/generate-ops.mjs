/**
 * Writes what is made of the encoding table: the core's operation numbers, and the decoder's tables that
 * every VM gets (needs dist/ built by tsc).
 */
import { writeFileSync } from 'node:fs';
import { decodeTables, operationModule } from '../dist/accel/wasm/isa/table.js';

writeFileSync(new URL('../src/accel/wasm/core/ops.ts', import.meta.url), operationModule());
writeFileSync(new URL('../dist/accel/wasm/decode-tables.bin', import.meta.url), decodeTables());
