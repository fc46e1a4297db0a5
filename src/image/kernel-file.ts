/**
 * From a kernel as distributions ship it to one that can be mapped: unpacked, and its segments at
 * file offsets that agree with their addresses within a page.
 */
import { BytesSource } from '../loader/byte-source.js';
import { relayoutElf } from '../loader/elf-relayout.js';
import { openKernel } from '../loader/open-kernel.js';

/**
 * @param file a bzImage or an ELF kernel
 * @returns an ELF kernel; the bytes given when they are one that needs no change
 * @throws PandoError what `openKernel` and `relayoutElf` throw
 */
export function prepareKernel(file: Uint8Array): Uint8Array {
  const { elf } = openKernel(new BytesSource(file));
  return relayoutElf(elf.read(0, elf.size));
}
