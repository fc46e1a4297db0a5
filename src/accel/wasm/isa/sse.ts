/** MMX, SSE and SSE2 encodings, FXSAVE and its kin (Intel SDM vol. 2). */
import type { Row } from './row.js';

/** All SIMD rows. */
export const SSE_ROWS: readonly Row[] = [];
