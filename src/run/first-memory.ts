/** What every guest's memory begins with: kernel, initrd and files of persistent memory where the plan has them, and the boot data. */
import { type EntryState, pvhEntryState } from '../arch/entry-state.js';
import { writeBootData } from '../boot/boot-data.js';
import type { GuestRam } from '../memory/guest-ram.js';
import { type PlacedImages, placeImages } from '../memory/place-images.js';
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
