/**
 * Sets of interrupt vectors, as IRR, ISR and TMR hold them: 256 bits in eight words.
 */

/** The highest vector of the set that starts at word `base`, or -1 when it is empty. */
export function highest(words: Uint32Array, base: number): number {
  for (let word = 7; word >= 0; word -= 1) {
    const bits = words[base + word]!;
    if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
  }
  return -1;
}

export function setBit(words: Uint32Array, base: number, vector: number): void {
  const word = base + (vector >>> 5);
  words[word] = words[word]! | (1 << (vector & 31));
}

export function clearBit(words: Uint32Array, base: number, vector: number): void {
  const word = base + (vector >>> 5);
  words[word] = words[word]! & ~(1 << (vector & 31));
}

export function testBit(words: Uint32Array, base: number, vector: number): boolean {
  return ((words[base + (vector >>> 5)]! >>> (vector & 31)) & 1) !== 0;
}
