/** What is placed in a guest's memory at its start: kernel and initrd, opened, checked and planned. */
import { LOW_MEMORY_LIMIT, PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { checkKernelFits, initrdPlacement, placeInitrd } from '../loader/initrd.js';
import type { KernelPlan, PartRange, Placement } from '../loader/plan.js';
import { type BootFile, openInitrdFile, openKernelFile } from './boot-file.js';

/** Everything that is placed in a guest's memory at its start. */
export interface GuestImages {
  readonly plan: KernelPlan;
  readonly kernel: BootFile;
  readonly initrd: BootFile | undefined;
  /** An archive that follows the initrd's. */
  readonly modules: BootFile | undefined;
  /** Guest address of the initrd, and bytes of all its archives with the zeros between them. */
  readonly initrdAddress: number;
  readonly initrdBytes: number;
  /** Files that the guest sees as persistent memory behind its RAM, one behind the other. */
  readonly pmem: PmemImages | undefined;
  /** Guest RAM with the window of `pmem` behind it. */
  readonly machineBytes: number;
  readonly placements: readonly Placement[];
  /** For accounting: kernel parts and the initrd. */
  readonly parts: readonly PartRange[];
  /** The same for one more guest. */
  share(): GuestImages;
  /** Closes the files once each guest that has them has closed. */
  close(): void;
}

/** A window of persistent memory and the files in it. */
export interface PmemImages {
  /** Guest address, a multiple of 2 MiB. */
  readonly address: number;
  /** A multiple of 2 MiB; what the files do not fill is zeros. */
  readonly bytes: number;
  readonly files: readonly BootFile[];
}

/** What a VM is to be started with. */
export interface ImageOptions {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  readonly modules?: string | undefined;
  /** Files of whole pages that are persistent memory, see VmOptions. */
  readonly pmem?: readonly string[] | undefined;
  /** Guest RAM in bytes. */
  readonly memory: number;
  /** Nobody changes the files, see VmOptions. */
  readonly immutable: boolean;
}

/**
 * Opens and plans kernel and initrd.
 * @throws PandoError what `openKernelFile` and `openInitrdFile` throw, and KERNEL_DOES_NOT_FIT,
 * INITRD_EMPTY, INITRD_DOES_NOT_FIT, PMEM_UNALIGNED, PMEM_DOES_NOT_FIT
 */
export function openImages({
  kernel,
  initrd,
  modules,
  pmem = [],
  memory,
  immutable,
}: ImageOptions): GuestImages {
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
    let initrdAddress = 0;
    let initrdBytes = 0;
    // Linux passes over zeros between two archives, so each begins on a page and can be mapped.
    const place = (size: number): void => {
      const initrdSize = Math.ceil(initrdBytes / PAGE_SIZE) * PAGE_SIZE + size;
      const kernelHighest = plan.highest;
      const limit = LOW_MEMORY_LIMIT;
      initrdAddress = placeInitrd({ ramBytes: memory, kernelHighest, initrdSize, limit });
      initrdBytes = initrdSize;
    };
    const open = (path: string | undefined): BootFile | undefined => {
      if (path === undefined) return undefined;
      const file = openInitrdFile(path, immutable, place);
      held.push(file);
      return file;
    };
    const initrdFile = open(initrd);
    const modulesFile = open(modules);
    const add = (file: BootFile | undefined, source: 'initrd' | 'modules', at: number): void => {
      if (file === undefined) return;
      placements.push(initrdPlacement(at, file.size, source));
      parts.push({ part: 'initrd', guestAddress: at, length: file.size });
    };
    add(initrdFile, 'initrd', initrdAddress);
    add(modulesFile, 'modules', initrdAddress + initrdBytes - (modulesFile?.size ?? 0));
    const window = pmem.length === 0 ? undefined : openPmem(pmem, memory, immutable, held);
    placements.push(...(window === undefined ? [] : pmemPlacements(window)));
    return heldOnce(
      {
        plan,
        kernel: kernelFile,
        initrd: initrdFile,
        modules: modulesFile,
        initrdAddress,
        initrdBytes,
        pmem: window,
        machineBytes: window === undefined ? memory : window.address + window.bytes,
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

/** Linux maps persistent memory by these (a subsection of its memory model). */
const PMEM_ALIGNMENT = 2 << 20;

const alignPmem = (bytes: number) => Math.ceil(bytes / PMEM_ALIGNMENT) * PMEM_ALIGNMENT;

/** Whether files of so many bytes fit behind RAM; all in bytes. */
export function pmemFits(bytes: number, memory: number): boolean {
  return machineBytes(memory, [bytes]) <= LOW_MEMORY_LIMIT;
}

/**
 * Bytes of guest RAM with the window of persistent memory behind it.
 * @param pmem bytes of each file
 */
export function machineBytes(memory: number, pmem: readonly number[]): number {
  if (pmem.length === 0) return memory;
  return alignPmem(memory) + alignPmem(pmem.reduce((sum, bytes) => sum + bytes, 0));
}

/** @param held gets every file that is opened */
function openPmem(
  paths: readonly string[],
  memory: number,
  immutable: boolean,
  held: BootFile[],
): PmemImages {
  let size = 0;
  const files = paths.map((path) => {
    const file = openInitrdFile(path, immutable, (bytes) => {
      if (bytes % PAGE_SIZE !== 0) {
        throw new PandoError(
          'PMEM_UNALIGNED',
          `${path} has ${bytes} bytes, persistent memory needs a multiple of ${PAGE_SIZE}`,
          { remedy: 'make the file longer' },
        );
      }
      size += bytes;
    });
    held.push(file);
    return file;
  });
  const bytes = alignPmem(size);
  if (pmemFits(size, memory)) return { address: alignPmem(memory), bytes, files };
  throw new PandoError(
    'PMEM_DOES_NOT_FIT',
    `persistent memory of ${bytes} bytes behind RAM ends above ${LOW_MEMORY_LIMIT}`,
    { remedy: 'give the guest less memory, or the files as a disk' },
  );
}

/** Each file from where the one before it ends. */
function pmemPlacements({ address, files }: PmemImages): Placement[] {
  let at = address;
  return files.map((file, index) => {
    const guestAddress = at;
    at += file.size;
    return {
      source: `pmem${index}`,
      part: 'rest',
      fileOffset: 0,
      fileLength: file.size,
      guestAddress,
      zeroLength: 0,
    };
  });
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
