/** What is placed in a guest's memory at its start: kernel and initrd, opened, checked and planned. */
import { LOW_MEMORY_LIMIT } from '../arch/layout.js';
import { checkKernelFits, initrdPlacement, placeInitrd } from '../loader/initrd.js';
import type { KernelPlan, PartRange, Placement } from '../loader/plan.js';
import { type BootFile, openInitrdFile, openKernelFile } from './boot-file.js';

/** Everything that is placed in a guest's memory at its start. */
export interface GuestImages {
  readonly plan: KernelPlan;
  readonly kernel: BootFile;
  readonly initrd: BootFile | undefined;
  /** Guest address of the initrd. */
  readonly initrdAddress: number;
  readonly placements: readonly Placement[];
  /** For accounting: kernel parts and the initrd. */
  readonly parts: readonly PartRange[];
  /** The same for one more guest. */
  share(): GuestImages;
  /** Closes the files once each guest that has them has closed. */
  close(): void;
}

/** What a VM is to be started with. */
export interface ImageOptions {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  /** Guest RAM in bytes. */
  readonly memory: number;
  /** Nobody changes the files, see VmOptions. */
  readonly immutable: boolean;
}

/**
 * Opens and plans kernel and initrd.
 * @throws PandoError what `openKernelFile` and `openInitrdFile` throw, and KERNEL_DOES_NOT_FIT,
 * INITRD_EMPTY, INITRD_DOES_NOT_FIT
 */
export function openImages({ kernel, initrd, memory, immutable }: ImageOptions): GuestImages {
  const held: BootFile[] = [];
  const close = (): void => {
    for (const file of held) file.close();
  };
  try {
    const kernelFile = openKernelFile(kernel, immutable, (plan) => checkKernelFits(plan, memory));
    held.push(kernelFile);
    const { plan } = kernelFile;
    const placements: Placement[] = [...plan.placements];
    const parts: PartRange[] = [...plan.parts];
    let initrdFile: BootFile | undefined;
    let initrdAddress = 0;
    if (initrd !== undefined) {
      initrdFile = openInitrdFile(initrd, immutable, (initrdSize) => {
        const kernelHighest = plan.highest;
        const limit = LOW_MEMORY_LIMIT;
        initrdAddress = placeInitrd({ ramBytes: memory, kernelHighest, initrdSize, limit });
      });
      held.push(initrdFile);
      placements.push(initrdPlacement(initrdAddress, initrdFile.size));
      parts.push({ part: 'initrd', guestAddress: initrdAddress, length: initrdFile.size });
    }
    return heldOnce(
      {
        plan,
        kernel: kernelFile,
        initrd: initrdFile,
        initrdAddress,
        placements,
        parts,
      },
      { holders: 0, close },
    );
  } catch (error) {
    close();
    throw error;
  }
}

/** One holder's images; closing twice counts once. */
function heldOnce(
  images: Omit<GuestImages, 'share' | 'close'>,
  held: { holders: number; readonly close: () => void },
): GuestImages {
  held.holders++;
  let closed = false;
  return {
    ...images,
    share: () => heldOnce(images, held),
    close: () => {
      if (closed) return;
      closed = true;
      if (--held.holders === 0) held.close();
    },
  };
}
