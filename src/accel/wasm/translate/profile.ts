/**
 * What became hot in earlier boots of a kernel, kept in a file, so that the next boot has it from the
 * start. A profile is only taken by the very core and translator that wrote it, since it holds decoded
 * operations and their translations; the guest's code is compared with it all the same before a
 * translation is installed.
 *
 * The file: 8 bytes of magic, the SHA-256 of the core and of the translator, the SHA-256 of what
 * follows; u32 number of regions; for each u32 length of the packed region, u32 length of the records, u32
 * links, u32 length of the function; the packed regions, each with its records behind it; the functions.
 * Then, behind what is hashed, the ages: a byte for each region, written again in its place by each
 * process (open-profile.ts). Any byte is an age, so that nothing has to hold for two of them together.
 */
import { readWhole, replaceFile, rewriteEnd } from '../../../platform/file.js';
import { sha256 } from '../../../platform/hash.js';
import { coreBytes } from '../core-module.js';
import { PackedHead, regionKey } from './region.js';
import type { EncodedRegion } from './translator.js';

const MAGIC = Buffer.from('PANDOHOT', 'latin1');
const HASH_BYTES = 32;
const HEAD_BYTES = MAGIC.length + 2 * HASH_BYTES;
/** Bytes of a region's lengths and links. */
const ENTRY = 16;

/** A region, and how many processes in a row have done without it. */
export interface KeptRegion {
  readonly region: EncodedRegion;
  readonly age: number;
}

export interface Profile {
  /** What the file begins with, which tells it from others. */
  readonly head: Uint8Array;
  readonly kept: readonly KeptRegion[];
}

/** Names the core and the translator (scripts/build.mjs). */
const makers = (): Buffer =>
  sha256(coreBytes(), readWhole(new URL('../translator.id', import.meta.url)));

const headOf = (payload: Uint8Array): Buffer => Buffer.concat([MAGIC, makers(), sha256(payload)]);

const words = (...values: readonly number[]): Buffer =>
  Buffer.from(Uint32Array.from(values).buffer);

/**
 * Writes a profile; a failure only costs the next boot its head start.
 * @returns what the file begins with
 */
export function writeProfile(path: string, kept: readonly KeptRegion[]): Uint8Array {
  const regions = kept.map(({ region }) => region);
  const payload = Buffer.concat([
    words(regions.length),
    ...regions.map(({ packed, records, links, body }) =>
      words(packed.length, records.length, links, body.length),
    ),
    ...regions.flatMap(({ packed, records }) => [packed, records]),
    ...regions.map(({ body }) => body),
  ]);
  const head = headOf(payload);
  replaceFile(path, Buffer.concat([head, payload, Uint8Array.from(kept, ({ age }) => age)]));
  return head;
}

/**
 * Writes the ages of a profile's regions; nothing when the file is another by now. A failure leaves ages
 * that are too old or too young.
 * @param head what the file began with when it was read or written
 */
export function writeAges(path: string, head: Uint8Array, ages: Uint8Array): void {
  rewriteEnd(path, head, ages);
}

/**
 * A profile; undefined when there is no file that this core and translator wrote. What other
 * threads get of its regions lies in shared memory, so that posting it copies nothing.
 */
export function readProfile(path: string): Profile | undefined {
  let file: Buffer;
  try {
    file = readWhole(path);
  } catch {
    return undefined;
  }
  if (file.length < HEAD_BYTES + 4) return undefined;
  const agesAt = Math.max(HEAD_BYTES, file.length - file.readUInt32LE(HEAD_BYTES));
  const payload = file.subarray(HEAD_BYTES, agesAt);
  const head = headOf(payload);
  if (!file.subarray(0, HEAD_BYTES).equals(head)) return undefined;
  const regions = regionsOf(payload);
  const kept = regions.map((region, index) => ({ region, age: file[agesAt + index] ?? 0 }));
  return { head, kept };
}

function regionsOf(payload: Buffer): EncodedRegion[] {
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
      key: regionKey(own),
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
