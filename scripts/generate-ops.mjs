/** Writes the core's operation numbers from the encoding table (needs dist/ built by tsc). */
import { writeFileSync } from 'node:fs';
import { operationModule } from '../dist/accel/wasm/isa/table.js';

writeFileSync(new URL('../src/accel/wasm/core/ops.ts', import.meta.url), operationModule());
