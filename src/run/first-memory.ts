/** What every guest's memory begins with: kernel, initrd and files of persistent memory where the plan has them, and the boot data. */
import { type EntryState, pvhEntryState } from '../arch/entry-state.js';
import { PAGE_SIZE } from '../arch/layout.js';
import { writeBootData } from '../boot/boot-data.js';
import type { GuestRam } from '../memory/guest-ram.js';
import type { ImageRange } from '../memory/image-pages.js';
import type { MemoryRun } from '../memory/memory-image.js';
import { MemoryLayout, SharedFile } from '../memory/memory-layout.js';
import { type PlacedImages, placeImages } from '../memory/place-images.js';
import type { BootFile } from './boot-file.js';
import type { GuestImages } from './images.js';
import type { LoadMode } from './types.js';

/** The machine that the boot data describe. */
export interface BootedMachine {
  /** Guest RAM in bytes. */
  readonly memory: number;
  readonly cpus: number;
  readonly commandLine: string;
  /** AML of devices that the DSDT declares; none when absent. */
  readonly dsdtDevices?: readonly Uint8Array[];
}

/** @throws PandoError what `placeImages` throws */
export function placeGuestImages(
  memory: GuestRam,
  images: GuestImages,
  load: LoadMode,
): PlacedImages {
  const { kernel, initrd, modules, pmem } = images;
  const windowed = (pmem?.files ?? []).map((file, index) => [`pmem${index}`, file] as const);
  const files = {
    kernel,
    ...(initrd && { initrd }),
    ...(modules && { modules }),
    ...Object.fromEntries(windowed),
  };
  return placeImages(memory, images.placements, files, load);
}

/**
 * Writes hvm_start_info and what it names.
 * @returns how the first vCPU enters the kernel
 * @throws PandoError what `writeBootData` throws
 */
export function writeGuestBootData(
  ram: GuestRam,
  images: GuestImages,
  { memory, cpus, commandLine, dsdtDevices = [] }: BootedMachine,
): EntryState {
  const { initrdAddress, initrdBytes } = images;
  const modules = initrdBytes > 0 ? [{ address: initrdAddress, size: initrdBytes }] : [];
  const startInfo = writeBootData(
    { write: (address, bytes) => ram.bytes(address, bytes.length).set(bytes) },
    { memoryBytes: memory, vcpus: cpus, commandLine, modules, dsdtDevices },
  );
  return pvhEntryState(images.plan.entry, startInfo);
}

/**
 * Where RAM comes from after a boot, for a first capture.
 * @param ranges as the images have been placed
 * @param alike ranges of further files, whose pages are to be copied
 */
export function firstLayout(
  images: GuestImages,
  ranges: PlacedImages['ranges'],
  alike: readonly ImageRange[] = [],
): MemoryLayout {
  const sources = new Map<string, BootFile | undefined>([
    ['kernel', images.kernel],
    ['initrd', images.initrd],
    ['modules', images.modules],
    ...(images.pmem?.files ?? []).map((file, index) => [`pmem${index}`, file] as const),
  ]);
  const present = [...sources].filter(([, file]) => file !== undefined).map(([source]) => source);
  const placed = [...sources.values()].filter((file) => file !== undefined);
  const files = placed.map((file) => {
    const held = images.share();
    return new SharedFile(file.fd, file.size, file.content?.sha256, () => held.close());
  });
  const runs = ranges
    .filter(({ how }) => how === 'mapped')
    .map((range) => runOf(range, present.indexOf(range.source)));
  return new MemoryLayout(files, [...runs, ...alike.map((range) => runOf(range, files.length))]);
}

/** A mapped range in pages. RAM before its hole is as long as its addresses. */
function runOf({ guestAddress, length, fileOffset }: ImageRange, file: number): MemoryRun {
  return {
    page: guestAddress / PAGE_SIZE,
    pages: length / PAGE_SIZE,
    file,
    filePage: fileOffset / PAGE_SIZE,
  };
}
