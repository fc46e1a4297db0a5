/**
 * What became hot in earlier boots of a kernel, kept in a file, so that the next boot has it from the
 * start. A profile is only taken by the very core and translator that wrote it, since it holds decoded
 * operations and their translations; the guest's code is compared with it all the same before a
 * translation is installed.
 *
 * The file: 8 bytes of magic, the SHA-256 of the core and of the translator, the SHA-256 of what
 * follows, and deflated: for each module u32 number of regions, u32 length and the bytes of the
 * module; for each of its regions u32 length, u32 links, u32 length of the records, the packed region
 * and the records.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { coreBytes } from '../core-module.js';
import type { EncodedModule, TranslatedRegion } from './translator.js';

const MAGIC = Buffer.from('PANDOHOT', 'latin1');
const HASH_BYTES = 32;
const PAYLOAD = MAGIC.length + 2 * HASH_BYTES;
/** Regions kept, the first that became hot. */
export const REGION_LIMIT = 6000;
const SIZE_LIMIT = 64 << 20;

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** Names the core and the translator (scripts/build.mjs). */
const makers = (): Buffer =>
  sha256(coreBytes(), readFileSync(new URL('../translator.id', import.meta.url)));

const words = (...values: readonly number[]): Buffer =>
  Buffer.from(Uint32Array.from(values).buffer);

export function regionsIn(modules: readonly EncodedModule[]): number {
  return modules.reduce((sum, { regions }) => sum + regions.length, 0);
}

/** Writes a profile; a failure only costs the next boot its head start. */
export function writeProfile(path: string, modules: readonly EncodedModule[]): void {
  const parts: Uint8Array[] = [];
  let regions = 0;
  for (const module of modules) {
    regions += module.regions.length;
    if (regions > REGION_LIMIT) break;
    parts.push(words(module.regions.length, module.code.length), module.code);
    for (const { packed, links, records } of module.regions) {
      parts.push(words(packed.length, links, records.length), packed, records);
    }
  }
  const payload = deflateRawSync(Buffer.concat(parts), { level: 1 });
  const temporary = `${path}.${process.pid}`;
  try {
    // Not recursive: the store is there, and Node 20 never comes back where a parent takes no folders.
    if (!existsSync(dirname(path))) mkdirSync(dirname(path));
    writeFileSync(temporary, Buffer.concat([MAGIC, makers(), sha256(payload), payload]));
    renameSync(temporary, path);
  } catch {
    rmSync(temporary, { force: true });
  }
}

/** The modules of a profile; none when there is no file that this core and translator wrote. */
export function readProfile(path: string): EncodedModule[] {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return [];
  }
  const payload = file.subarray(PAYLOAD);
  const expected = Buffer.concat([MAGIC, makers(), sha256(payload)]);
  if (!file.subarray(0, PAYLOAD).equals(expected)) return [];
  const bytes = inflateRawSync(payload, { maxOutputLength: SIZE_LIMIT });
  let at = 0;
  const word = (): number => {
    at += 4;
    return bytes.readUInt32LE(at - 4);
  };
  const view = (length: number): Uint8Array => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  // What goes to other threads must not bring the whole buffer along.
  const take = (length: number): Uint8Array => new Uint8Array(view(length));
  const modules: EncodedModule[] = [];
  while (at < bytes.length) {
    const count = word();
    const code = view(word());
    const regions: TranslatedRegion[] = [];
    for (let index = 0; index < count; index++) {
      const [length, links, recordBytes] = [word(), word(), word()];
      regions.push({ packed: take(length), links, records: take(recordBytes) });
    }
    modules.push({ code, regions });
  }
  return modules;
}
