/** Times before the lines of a stream that comes in pieces. */

const LINE_FEED = 10;

/** For one stream: puts the time of a piece before each line that begins in it. */
export function stampLines(): (bytes: Uint8Array, time: string) => Uint8Array {
  let begins = true;
  return (bytes, time) => {
    const stamp = Buffer.from(`${time} `);
    const parts: Uint8Array[] = [];
    for (let from = 0; from < bytes.length; ) {
      const end = bytes.indexOf(LINE_FEED, from);
      const next = end < 0 ? bytes.length : end + 1;
      if (begins) parts.push(stamp);
      parts.push(bytes.subarray(from, next));
      begins = end >= 0;
      from = next;
    }
    return Buffer.concat(parts);
  };
}
