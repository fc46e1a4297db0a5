/**
 * Puts images into guest RAM. Pages that can be are the file's own, mapped private and copy-on-write
 * (mmap(2), MAP_PRIVATE: "updates are not carried through to the underlying file"); the rest is read.
 */
import { fstatSync, readSync } from 'node:fs';
import { PAGE_SIZE } from '../arch/layout.js';
import { PandoError } from '../error.js';
import { errnoOf } from '../host/errno.js';
import { mapFileOver, probeFileMapping } from '../host/mmap.js';
import type { Placement } from '../loader/plan.js';
import type { GuestRam } from './guest-ram.js';
import { checkPlacements, type ImageRange, READ_REASON, splitPlacement } from './image-pages.js';

/** A file whose contents do not change while it is in use (see `sealImage`). */
export interface ImageFile {
  /** Open for reading; stays the caller's, open until the VM has gone. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  /** For messages. */
  readonly name: string;
}

/** The files that placements refer to by `source`. */
export type ImageFiles = Partial<Record<Placement['source'], ImageFile>>;

/** `map`: map what can be mapped; `read`: copy everything. */
export type LoadMode = 'map' | 'read';

/** Images in guest RAM. */
export interface PlacedImages {
  /** Every range of the plan, what became of it, and why. */
  readonly ranges: readonly ImageRange[];
  /**
   * Guest RAM as it was right after placing: images as in their files, everything else zero, pages of
   * its own given back. For a machine's reset; all vCPUs have stopped.
   */
  restore(): void;
}

/** Bytes a read at most asks for; Node's own limit is 2 GiB. */
const READ_CHUNK = 1 << 24;

/**
 * Clears guest RAM and places images in it.
 *
 * @throws PandoError IMAGE_OVERLAP, IMAGE_PAST_RAM, IMAGE_FILE_MISSING, IMAGE_TRUNCATED,
 * IMAGE_READ_FAILED; guest RAM is then all zeros and nothing is mapped
 */
export function placeImages(
  guest: GuestRam,
  placements: readonly Placement[],
  files: ImageFiles,
  mode: LoadMode,
): PlacedImages {
  checkPlacements(placements, guest.ramBytes);
  for (const placement of placements) checkFile(placement, fileOf(files, placement.source));
  guest.clear();
  try {
    const unmappable = mode === 'map' ? probeFiles(files) : readAll(files);
    const place = (): ImageRange[] => {
      const ranges = mapPlacements(guest, placements, files, unmappable);
      for (const range of ranges)
        if (range.how === 'read') readRange(guest, fileOf(files, range.source), range);
      return ranges;
    };
    let ranges = place();
    return {
      get ranges() {
        return ranges;
      },
      restore: () => {
        guest.clear();
        ranges = place();
      },
    };
  } catch (error) {
    guest.clear();
    throw error;
  }
}

/** Why nothing of a file is mapped; a file that is mapped has no entry. */
type Unmappable = Partial<Record<Placement['source'], string>>;

function sourcesOf(files: ImageFiles): Placement['source'][] {
  return Object.keys(files) as Placement['source'][];
}

function readAll(files: ImageFiles): Unmappable {
  return Object.fromEntries(sourcesOf(files).map((source) => [source, READ_REASON.asked]));
}

/** Finds out for every file whether it can be mapped, before guest RAM is at stake. */
function probeFiles(files: ImageFiles): Unmappable {
  const unmappable: Unmappable = {};
  for (const source of sourcesOf(files)) {
    const file = files[source];
    if (file === undefined || file.size === 0) continue;
    const refused = probeFileMapping(file.fd, PAGE_SIZE);
    if (refused !== undefined) unmappable[source] = refusal(refused);
    // A mapped page past the end of its file kills the process that touches it (mmap(2), SIGBUS).
    else if (fstatSync(file.fd).size < file.size) unmappable[source] = READ_REASON.shrunk;
  }
  return unmappable;
}

const refusal = (errno: string): string => `mmap was refused: ${errno}`;

/** Maps what can be mapped over cleared guest RAM; gives every range, those to read included. */
function mapPlacements(
  guest: GuestRam,
  all: readonly Placement[],
  files: ImageFiles,
  unmappable: Unmappable,
): ImageRange[] {
  const ranges = all.flatMap((placement) => {
    const file = fileOf(files, placement.source);
    const zeroAfter = (offset: number): boolean => isZeroToPageEnd(file, offset);
    return splitPlacement(placement, { all, unmappable: unmappable[placement.source], zeroAfter });
  });
  for (const { how, source, guestAddress, length, fileOffset } of ranges) {
    if (how !== 'mapped') continue;
    const address = guest.hostRange(guestAddress, length);
    const refused = mapFileOver(address, length, fileOf(files, source).fd, fileOffset);
    if (refused === undefined) continue;
    // A refused fixed mapping may have left a hole, and there may be no room to mend just that.
    guest.clear();
    return mapPlacements(guest, all, files, { ...unmappable, [source]: refusal(refused) });
  }
  return ranges;
}

function fileOf(files: ImageFiles, source: Placement['source']): ImageFile {
  const file = files[source];
  if (file === undefined)
    throw new PandoError(
      'IMAGE_FILE_MISSING',
      `the plan places the ${source}, but no file is given`,
    );
  return file;
}

function checkFile(placement: Placement, file: ImageFile): void {
  const end = placement.fileOffset + placement.fileLength;
  if (end > file.size) throw truncated(file, end, file.size);
}

function truncated(file: ImageFile, wanted: number, size: number): PandoError {
  return new PandoError(
    'IMAGE_TRUNCATED',
    `${file.name} ends at ${size}, its headers name bytes up to ${wanted}`,
    { remedy: 'get the file again' },
  );
}

/** Reads up to `into.length` bytes; returns how many there were before the end of the file. */
function readUpTo(file: ImageFile, into: Uint8Array, position: number): number {
  let done = 0;
  try {
    while (done < into.length) {
      const wanted = Math.min(READ_CHUNK, into.length - done);
      const got = readSync(file.fd, into, done, wanted, position + done);
      if (got === 0) break;
      done += got;
    }
  } catch (cause) {
    const name = errnoOf(cause);
    if (name === undefined) throw cause;
    const at = `${file.name}, ${into.length} bytes at ${position}`;
    throw new PandoError('IMAGE_READ_FAILED', `${at}: ${name}`, { cause });
  }
  return done;
}

function readRange(guest: GuestRam, file: ImageFile, range: ImageRange): void {
  const into = guest.bytes(range.guestAddress, range.length);
  const got = readUpTo(file, into, range.fileOffset);
  if (got < range.length)
    throw truncated(file, range.fileOffset + range.length, range.fileOffset + got);
}

function isZeroToPageEnd(file: ImageFile, offset: number): boolean {
  const rest = new Uint8Array(PAGE_SIZE - (offset % PAGE_SIZE));
  return rest.subarray(0, readUpTo(file, rest, offset)).every((byte) => byte === 0);
}
