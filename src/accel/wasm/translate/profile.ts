/**
 * What became hot in earlier boots of a kernel, kept in a file, so that the next boot has it from the
 * start. A profile is only taken by the very core and translator that wrote it, since it holds decoded
 * operations and their translations; the guest's code is compared with it all the same before a
 * translation is installed.
 *
 * The file: 8 bytes of magic, the SHA-256 of the core and of the translator, the SHA-256 of what
 * follows; u32 number of regions; for each u32 length of the packed region, u32 length of the records, u32
 * links, u32 length of the function; the packed regions, each with its records behind it; the functions.
 */
import { readWhole, replaceFile } from '../../../platform/file.js';
import { sha256 } from '../../../platform/hash.js';
import { coreBytes } from '../core-module.js';
import { PackedHead } from './region.js';
import type { EncodedRegion } from './translator.js';

const MAGIC = Buffer.from('PANDOHOT', 'latin1');
const HASH_BYTES = 32;
const PAYLOAD = MAGIC.length + 2 * HASH_BYTES;
/** Regions kept, the first that became hot. */
export const REGION_LIMIT = 6000;
/** Bytes of a region's lengths and links. */
const ENTRY = 16;

/** Names the core and the translator (scripts/build.mjs). */
const makers = (): Buffer =>
  sha256(coreBytes(), readWhole(new URL('../translator.id', import.meta.url)));

const words = (...values: readonly number[]): Buffer =>
  Buffer.from(Uint32Array.from(values).buffer);

/** Writes a profile; a failure only costs the next boot its head start. */
export function writeProfile(path: string, regions: readonly EncodedRegion[]): void {
  const kept = regions.slice(0, REGION_LIMIT);
  const payload = Buffer.concat([
    words(kept.length),
    ...kept.map(({ packed, records, links, body }) =>
      words(packed.length, records.length, links, body.length),
    ),
    ...kept.flatMap(({ packed, records }) => [packed, records]),
    ...kept.map(({ body }) => body),
  ]);
  replaceFile(path, Buffer.concat([MAGIC, makers(), sha256(payload), payload]));
}

/**
 * The regions of a profile; none when there is no file that this core and translator wrote. What other
 * threads get of them lies in shared memory, so that posting it copies nothing.
 */
export function readProfile(path: string): EncodedRegion[] {
  let file: Buffer;
  try {
    file = readWhole(path);
  } catch {
    return [];
  }
  const payload = file.subarray(PAYLOAD);
  const expected = Buffer.concat([MAGIC, makers(), sha256(payload)]);
  if (!file.subarray(0, PAYLOAD).equals(expected)) return [];
  const entries = Array.from({ length: payload.readUInt32LE(0) }, (_, index) => {
    const [packed = 0, records = 0, links = 0, body = 0] = [0, 4, 8, 12].map((word) =>
      payload.readUInt32LE(4 + index * ENTRY + word),
    );
    return { packed, records, links, body };
  });
  const start = 4 + entries.length * ENTRY;
  const posted = entries.reduce((sum, { packed, records }) => sum + packed + records, 0);
  const shared = new Uint8Array(new SharedArrayBuffer(posted));
  shared.set(payload.subarray(start, start + posted));
  const functions = payload.subarray(start + posted);
  let at = 0;
  let functionAt = 0;
  return entries.map(({ packed, records, links, body }) => {
    const recordsAt = at + packed;
    const own = shared.subarray(at, recordsAt);
    const region = {
      packed: own,
      hash: new PackedHead(own).hash,
      records: shared.subarray(recordsAt, recordsAt + records),
      links,
      body: functions.subarray(functionAt, functionAt + body),
    };
    at = recordsAt + records;
    functionAt += body;
    return region;
  });
}
