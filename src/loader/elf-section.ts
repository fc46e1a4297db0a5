/**
 * A section of a 64-bit relocatable ELF file by its name, as kernel modules have them (System V ABI,
 * "Sections"; Elf64_Ehdr, Elf64_Shdr).
 */
import { isElf } from './elf.js';

const E_SHOFF = 40;
const E_SHENTSIZE = 58;
const E_SHNUM = 60;
const E_SHSTRNDX = 62;
const EHDR_BYTES = 64;
const SHDR_BYTES = 64;
const SH_OFFSET = 24;
const SH_SIZE = 32;

/** The section's bytes, a view; undefined when the file has none of that name or is no such file. */
export function elfSection(file: Uint8Array, name: string): Uint8Array | undefined {
  if (!isElf(file) || file.length < EHDR_BYTES) return undefined;
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const first = Number(view.getBigUint64(E_SHOFF, true));
  const count = view.getUint16(E_SHNUM, true);
  if (view.getUint16(E_SHENTSIZE, true) !== SHDR_BYTES) return undefined;
  if (first + count * SHDR_BYTES > file.length) return undefined;
  const contents = (index: number): Uint8Array => {
    const at = first + index * SHDR_BYTES;
    const offset = Number(view.getBigUint64(at + SH_OFFSET, true));
    return file.subarray(offset, offset + Number(view.getBigUint64(at + SH_SIZE, true)));
  };
  const strings = view.getUint16(E_SHSTRNDX, true);
  if (strings >= count) return undefined;
  const names = Buffer.from(contents(strings));
  const wanted = Buffer.from(`${name}\0`);
  for (let index = 0; index < count; index += 1) {
    const at = view.getUint32(first + index * SHDR_BYTES, true);
    if (names.subarray(at, at + wanted.length).equals(wanted)) return contents(index);
  }
  return undefined;
}
