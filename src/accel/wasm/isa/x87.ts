/**
 * x87 encodings. The escape opcodes D8–DF are decoded as two operations: the record's immediate is
 * `ModRM << 8 | (opcode & 7) << 3 | reg` for memory forms and `(opcode & 7) << 6 | (ModRM & 63)` for register forms.
 */
import { type Row, row } from './row.js';

/** The eight escape opcodes. */
export const X87_ROWS: readonly Row[] = [0, 1, 2, 3, 4, 5, 6, 7].map((low) =>
  row(
    `D${(8 + low).toString(16).toUpperCase()} /r`,
    'x87',
    'M,X87',
    'x87',
    ['X87_REGISTER', 'X87_MEMORY'],
    { size: 'v' },
  ),
);
