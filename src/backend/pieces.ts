/** Pieces of memory that are used up from the front. */
export class Pieces {
  readonly length: number;
  #rest: readonly Uint8Array[];

  constructor(pieces: readonly Uint8Array[]) {
    this.#rest = pieces;
    this.length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  take(length: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    while (length > 0) {
      const [head, ...others] = this.#rest;
      if (head === undefined) break;
      const part = head.subarray(0, length);
      taken.push(part);
      length -= part.length;
      this.#rest = part.length < head.length ? [head.subarray(part.length), ...others] : others;
    }
    return taken;
  }
}
