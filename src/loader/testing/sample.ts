/**
 * The bytes that the decompressors' fixtures were made of: machine-code-like, with calls to a few targets
 * (which the x86 filter changes), runs and noise. Any length, always the same.
 */
export function sampleBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 16) % below;
  };
  const words = ['pando ', 'aspen ', 'grove ', 'root ', 'stem '];
  let at = 0;
  while (at < length) {
    const kind = random(10);
    if (kind < 4 && at + 5 <= length) {
      const target = 0x400 * random(6);
      bytes[at] = kind === 0 ? 0xe9 : 0xe8;
      new DataView(bytes.buffer).setInt32(at + 1, target - (at + 5), true);
      at += 5;
    } else if (kind < 6) {
      const end = Math.min(length, at + 1 + random(12));
      bytes.fill(random(2) === 0 ? 0 : 0xe8, at, end);
      at = end;
    } else if (kind < 9) {
      for (const char of words[random(words.length)]!) {
        if (at < length) bytes[at++] = char.charCodeAt(0);
      }
    } else {
      bytes[at++] = random(256);
    }
  }
  return bytes;
}
