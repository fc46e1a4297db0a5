/**
 * Where the initrd goes: as high as RAM below the limit allows, on pages of its own. Linux frees an
 * initrd by whole pages, so its last page may hold nothing else; PVH wants it below 4 GiB.
 */
import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import type { KernelPlan, Placement } from './plan.js';

const ADDRESS_LIMIT = 0x1_0000_0000;

/** What decides an initrd's address; all in bytes. */
export interface InitrdConstraints {
  /** The guest's RAM, contiguous from address 0 (the legacy hole counted in). */
  readonly ramBytes: number;
  /** One past the kernel's highest byte (`KernelPlan.highest`). */
  readonly kernelHighest: number;
  readonly initrdSize: number;
  /** Where RAM below 4 GiB ends at most, because device memory begins; default 4 GiB. */
  readonly limit?: number;
}

/**
 * The initrd's page-aligned guest address.
 * @throws PandoError INITRD_EMPTY, INITRD_DOES_NOT_FIT
 */
export function placeInitrd(constraints: InitrdConstraints): number {
  const { ramBytes, kernelHighest, initrdSize, limit = ADDRESS_LIMIT } = constraints;
  if (initrdSize === 0) {
    throw new PandoError('INITRD_EMPTY', 'the initrd has 0 bytes', {
      remedy: 'leave the initrd away, or give one that has content',
    });
  }
  const ceiling = Math.floor(Math.min(ramBytes, limit, ADDRESS_LIMIT) / PAGE_SIZE) * PAGE_SIZE;
  const floor = Math.ceil(kernelHighest / PAGE_SIZE) * PAGE_SIZE;
  const address = ceiling - Math.ceil(initrdSize / PAGE_SIZE) * PAGE_SIZE;
  if (address < floor) {
    throw new PandoError(
      'INITRD_DOES_NOT_FIT',
      `the initrd of ${initrdSize} bytes needs pages between the kernel's end 0x${floor.toString(16)} ` +
        `and 0x${ceiling.toString(16)}`,
      { remedy: 'give the guest more memory, or a smaller initrd' },
    );
  }
  return address;
}

/** An archive of the initrd as a placement, mapped from the start of its file. */
export function initrdPlacement(
  guestAddress: number,
  initrdSize: number,
  source: 'initrd' | 'modules' = 'initrd',
): Placement {
  return {
    source,
    part: 'initrd',
    fileOffset: 0,
    fileLength: initrdSize,
    guestAddress,
    zeroLength: -initrdSize & (PAGE_SIZE - 1),
  };
}

/**
 * Refuses a kernel that RAM cannot hold.
 * @throws PandoError KERNEL_DOES_NOT_FIT
 */
export function checkKernelFits(plan: KernelPlan, ramBytes: number): void {
  if (plan.highest <= ramBytes) return;
  throw new PandoError(
    'KERNEL_DOES_NOT_FIT',
    `the kernel reaches up to 0x${plan.highest.toString(16)}, RAM ends at 0x${ramBytes.toString(16)}`,
    { remedy: 'give the guest more memory' },
  );
}
