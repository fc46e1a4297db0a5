/**
 * The codes of Zstandard's sequences: default distributions, first values and extra bits (RFC 8878,
 * sections 3.1.1.3.2.1.1 and 3.1.1.3.2.2).
 */
import { buildFseTable, type FseTable } from './zstd-entropy.js';

/** One of the three kinds of codes: its default table, its limits, and base and extra bits of codes. */
export interface CodeKind {
  readonly name: string;
  readonly maxLog: number;
  readonly maxSymbol: number;
  readonly predefined: FseTable;
}

export const LITERAL_LENGTHS: CodeKind = {
  name: 'literal length',
  maxLog: 9,
  maxSymbol: 35,
  predefined: buildFseTable(
    [
      4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1,
      1, -1, -1, -1, -1,
    ],
    6,
  ),
};
export const OFFSETS: CodeKind = {
  name: 'offset',
  maxLog: 8,
  maxSymbol: 31,
  predefined: buildFseTable(
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
    5,
  ),
};
export const MATCH_LENGTHS: CodeKind = {
  name: 'match length',
  maxLog: 9,
  maxSymbol: 52,
  predefined: buildFseTable(
    [
      1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    6,
  ),
};

export const LITERAL_LENGTH_BITS = [
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12,
  13, 14, 15, 16,
] as const;
export const MATCH_LENGTH_BITS = [
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
  1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
] as const;

/** First value of each code: the ranges follow one another without gaps. */
function basesOf(bits: readonly number[], first: number): number[] {
  let base = first;
  return bits.map((width) => {
    const own = base;
    base += 1 << width;
    return own;
  });
}
export const LITERAL_LENGTH_BASES = basesOf(LITERAL_LENGTH_BITS, 0);
export const MATCH_LENGTH_BASES = basesOf(MATCH_LENGTH_BITS, 3);
