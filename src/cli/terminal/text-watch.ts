/**
 * Finds a text in a stream of bytes whatever pieces it comes in, in one pass without keeping the bytes:
 * D. Knuth, J. Morris, V. Pratt, "Fast Pattern Matching in Strings", SIAM J. Comput. 6(2), 1977.
 */
export class TextWatch {
  private readonly pattern: Uint8Array;
  /** Length of the longest proper prefix of pattern[0..i] that is also its suffix. */
  private readonly borders: Uint32Array;
  private matched = 0;
  private found = false;

  /** @param text at least one character; compared as UTF-8 */
  constructor(text: string) {
    this.pattern = new TextEncoder().encode(text);
    this.borders = new Uint32Array(this.pattern.length);
    for (let at = 1, border = 0; at < this.pattern.length; at++) {
      while (border > 0 && this.pattern[at] !== this.pattern[border]) {
        border = this.borders[border - 1]!;
      }
      if (this.pattern[at] === this.pattern[border]) border++;
      this.borders[at] = border;
    }
  }

  /** Whether the text has appeared so far. */
  get seen(): boolean {
    return this.found;
  }

  /** Takes the next bytes of the stream; returns `seen`. */
  feed(bytes: Uint8Array): boolean {
    if (this.found) return true;
    for (const byte of bytes) {
      while (this.matched > 0 && byte !== this.pattern[this.matched]) {
        this.matched = this.borders[this.matched - 1]!;
      }
      if (byte === this.pattern[this.matched]) this.matched++;
      if (this.matched === this.pattern.length) {
        this.found = true;
        break;
      }
    }
    return this.found;
  }
}
