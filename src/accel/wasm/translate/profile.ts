/**
 * What became hot in earlier boots of a kernel, kept in a file so that it is translated before it is
 * needed. A profile is only taken by the very core that wrote it, since it holds decoded operations; the
 * guest's code is compared with it all the same before a translation is installed.
 *
 * The file: 8 bytes of magic, the SHA-256 of the core, the SHA-256 of what follows, and deflated: for
 * each region u32 its length and the packed region.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { coreBytes } from '../core-module.js';

const MAGIC = Buffer.from('PANDOHOT', 'latin1');
const HASH_BYTES = 32;
const PAYLOAD = MAGIC.length + 2 * HASH_BYTES;
/** Regions kept, the first that became hot. */
export const REGION_LIMIT = 6000;
const SIZE_LIMIT = 64 << 20;

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** Writes a profile; a failure only costs the next boot its head start. */
export function writeProfile(path: string, regions: readonly Uint8Array[]): void {
  const parts: Uint8Array[] = [];
  for (const region of regions.slice(0, REGION_LIMIT)) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(region.length);
    parts.push(length, region);
  }
  const payload = deflateRawSync(Buffer.concat(parts), { level: 1 });
  const temporary = `${path}.${process.pid}`;
  try {
    // Not recursive: the store is there, and Node 20 never comes back where a parent takes no folders.
    if (!existsSync(dirname(path))) mkdirSync(dirname(path));
    const file = Buffer.concat([MAGIC, sha256(coreBytes()), sha256(payload), payload]);
    writeFileSync(temporary, file);
    renameSync(temporary, path);
  } catch {
    rmSync(temporary, { force: true });
  }
}

/** The regions of a profile; none when there is no file that this core wrote. */
export function readProfile(path: string): Uint8Array[] {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return [];
  }
  const payload = file.subarray(PAYLOAD);
  const expected = Buffer.concat([MAGIC, sha256(coreBytes()), sha256(payload)]);
  if (!file.subarray(0, PAYLOAD).equals(expected)) return [];
  const bytes = inflateRawSync(payload, { maxOutputLength: SIZE_LIMIT });
  const regions: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    regions.push(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return regions;
}
