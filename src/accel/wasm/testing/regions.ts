/** Regions for tests of what is kept of them. */
import * as L from '../layout.js';
import { PackedHead, pack, regionKey } from '../translate/region.js';
import type { EncodedRegion } from '../translate/translator.js';

/** A region of one block, of so many bytes. */
export function region(offset: number, length: number, ...body: readonly number[]): EncodedRegion {
  const code = new Uint8Array(length).fill(7);
  const records = new Uint8Array(L.REC_SIZE);
  const packed = pack(L.MODE_CODE64, false, [
    { offset, length, count: 1, flags: 0, records, code },
  ]);
  return {
    body: Uint8Array.from(body),
    packed,
    key: regionKey(packed),
    hash: new PackedHead(packed).hash,
    links: offset,
    records: new Uint8Array(2 * length).fill(1),
  };
}
