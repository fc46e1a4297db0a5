/**
 * Opens a kernel by its content: an ELF file as it is, a bzImage by unpacking the vmlinux inside. The
 * name of the file decides nothing.
 */
import { PandoError } from '../error.js';
import { type ByteSource, BytesSource } from './byte-source.js';
import { isBzImage, readBzImage, unpackBzImage } from './bzimage.js';
import type { CompressionFormat } from './decompress/decompress.js';
import { isElf } from './elf.js';
import { planElf } from './elf-plan.js';
import type { KernelPlan } from './plan.js';

/** A kernel that can be placed. */
export interface OpenedKernel {
  readonly format: 'elf' | 'bzImage';
  /** How a bzImage's payload was compressed. */
  readonly compression?: CompressionFormat;
  /** The ELF file that the plan's offsets are in: the source given, or the vmlinux in memory. */
  readonly elf: ByteSource;
  readonly plan: KernelPlan;
}

/**
 * Recognises, unpacks and plans.
 * @throws PandoError KERNEL_EMPTY, KERNEL_FORMAT_UNKNOWN, and what `planElf`, `readBzImage` and
 *   `unpackBzImage` throw
 */
export function openKernel(source: ByteSource): OpenedKernel {
  if (source.size === 0) {
    throw new PandoError('KERNEL_EMPTY', 'the kernel file has 0 bytes', {
      remedy: 'fetch the kernel again',
    });
  }
  const magic = source.read(0, Math.min(4, source.size));
  if (isElf(magic)) return { format: 'elf', elf: source, plan: planElf(source) };
  if (!isBzImage(source)) {
    throw new PandoError(
      'KERNEL_FORMAT_UNKNOWN',
      `the file begins with ${Buffer.from(magic).toString('hex')}, and has no "HdrS" at offset 0x202: ` +
        'neither ELF nor bzImage',
      { remedy: 'give a vmlinux or a bzImage (vmlinuz)' },
    );
  }
  const image = readBzImage(source);
  const elf = new BytesSource(unpackBzImage(source, image));
  const plan = planElf(elf);
  return image.compression === undefined
    ? { format: 'bzImage', elf, plan }
    : { format: 'bzImage', compression: image.compression, elf, plan };
}
