/**
 * From file names to images that can be placed: opened once, protected from later changes, planned.
 */

import { LOW_MEMORY_LIMIT } from '../arch/layout.js';
import { BytesSource, FileSource } from '../loader/byte-source.js';
import { planElf } from '../loader/elf-plan.js';
import { relayoutElf } from '../loader/elf-relayout.js';
import { checkKernelFits, initrdPlacement, placeInitrd } from '../loader/initrd.js';
import { openKernel } from '../loader/open-kernel.js';
import type { KernelPlan, PartRange, Placement } from '../loader/plan.js';
import { type SealedImage, sealBytes, sealImage } from '../memory/seal-image.js';

/** Everything that is placed in a guest's memory at its start. */
export interface GuestImages {
  readonly plan: KernelPlan;
  readonly kernel: SealedImage;
  readonly initrd: SealedImage | undefined;
  /** Guest address of the initrd. */
  readonly initrdAddress: number;
  readonly placements: readonly Placement[];
  /** For accounting: kernel parts and the initrd. */
  readonly parts: readonly PartRange[];
  close(): void;
}

/** What a VM is to be started with. */
export interface ImageOptions {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly memory: number;
  /** The files are the store's: nobody changes them. */
  readonly immutable: boolean;
}

/** Opens and plans kernel and initrd. A bzImage's vmlinux is unpacked into memory, pages aligned. */
export function openImages({ kernel, initrd, memory, immutable }: ImageOptions): GuestImages {
  const held: SealedImage[] = [];
  const close = (): void => {
    for (const image of held) image.close();
  };
  try {
    let image = sealImage(kernel, { immutable });
    held.push(image);
    const opened = openKernel(new FileSource(image.fd));
    let plan = opened.plan;
    if (opened.format === 'bzImage') {
      const elf = relayoutElf(opened.elf.read(0, opened.elf.size));
      plan = planElf(new BytesSource(elf));
      image = sealBytes(kernel, elf);
      held.push(image);
    }
    checkKernelFits(plan, memory);
    const placements: Placement[] = [...plan.placements];
    const parts: PartRange[] = [...plan.parts];
    let initrdImage: SealedImage | undefined;
    let initrdAddress = 0;
    if (initrd !== undefined) {
      initrdImage = sealImage(initrd, { immutable });
      held.push(initrdImage);
      initrdAddress = placeInitrd({
        ramBytes: memory,
        kernelHighest: plan.highest,
        initrdSize: initrdImage.size,
        limit: LOW_MEMORY_LIMIT,
      });
      placements.push(initrdPlacement(initrdAddress, initrdImage.size));
      parts.push({ part: 'initrd', guestAddress: initrdAddress, length: initrdImage.size });
    }
    return { plan, kernel: image, initrd: initrdImage, initrdAddress, placements, parts, close };
  } catch (error) {
    close();
    throw error;
  }
}
