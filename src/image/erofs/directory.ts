/**
 * Directory blocks of EROFS: dirents of 12 bytes, then their names one behind the other. The first
 * dirent's name offset tells how many there are. Names are in byte order over the whole directory,
 * `.` and `..` among them; each block is self-contained (Linux, Documentation/filesystems/erofs.rst,
 * "Directories").
 */
import type { PandoError } from '../../error.js';
import type { Inode } from '../file-tree.js';
import { BLOCK_SIZE, DIRENT, DIRENT_SIZE, NAME_LIMIT } from './format.js';

/** FT_* numbers by kind (Linux, include/linux/fs_types.h). */
const FILE_TYPES: Readonly<Record<Inode['kind'], number>> = {
  file: 1,
  directory: 2,
  character: 3,
  block: 4,
  fifo: 5,
  socket: 6,
  symlink: 7,
};
const FILE_TYPE_LIMIT = 7;

/** A name, and the inode number that it leads to. */
export interface Dirent {
  readonly name: string;
  readonly kind: Inode['kind'];
}

/** The names of a directory cut into blocks: all but the last are full blocks on the disk. */
export function splitDirectory(entries: readonly Dirent[]): Dirent[][] {
  const all: Dirent[] = [
    { name: '.', kind: 'directory' },
    { name: '..', kind: 'directory' },
    ...entries,
  ];
  all.sort((a, b) => (a.name < b.name ? -1 : 1));
  const blocks: Dirent[][] = [];
  let block: Dirent[] = [];
  let used = 0;
  for (const entry of all) {
    const size = DIRENT_SIZE + entry.name.length;
    if (used + size > BLOCK_SIZE) {
      blocks.push(block);
      block = [];
      used = 0;
    }
    block.push(entry);
    used += size;
  }
  blocks.push(block);
  return blocks;
}

/** Bytes that a block's dirents and names take. */
export function blockContentSize(block: readonly Dirent[]): number {
  return block.reduce((total, { name }) => total + DIRENT_SIZE + name.length, 0);
}

/**
 * Writes one block.
 * @param bytes zeros, long enough
 * @param nidOf the inode number that a name of this directory leads to
 */
export function writeDirectoryBlock(
  bytes: Uint8Array,
  block: readonly Dirent[],
  nidOf: (name: string) => number,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let nameAt = DIRENT_SIZE * block.length;
  block.forEach(({ name, kind }, index) => {
    const at = DIRENT_SIZE * index;
    view.setBigUint64(at + DIRENT.nid, BigInt(nidOf(name)), true);
    view.setUint16(at + DIRENT.nameoff, nameAt, true);
    view.setUint8(at + DIRENT.file_type, FILE_TYPES[kind]);
    bytes.set(Buffer.from(name, 'latin1'), nameAt);
    nameAt += name.length;
  });
}

/** A dirent as it was read. */
export interface ReadDirent {
  readonly name: string;
  readonly nid: bigint;
}

/**
 * Reads one block; the last name may be padded with zeros.
 * @param malformed makes the error for what is wrong at an offset of the block
 */
export function readDirectoryBlock(
  bytes: Uint8Array,
  malformed: (what: string, offset: number) => PandoError,
): ReadDirent[] {
  if (bytes.length < DIRENT_SIZE) throw malformed('a directory block without a dirent', 0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const namesAt = view.getUint16(DIRENT.nameoff, true);
  if (namesAt < DIRENT_SIZE || namesAt % DIRENT_SIZE !== 0 || namesAt >= bytes.length) {
    throw malformed(`first name offset ${namesAt}`, DIRENT.nameoff);
  }
  const count = namesAt / DIRENT_SIZE;
  return Array.from({ length: count }, (_, index) => {
    const at = DIRENT_SIZE * index;
    const from = view.getUint16(at + DIRENT.nameoff, true);
    const last = index === count - 1;
    const to = last ? bytes.length : view.getUint16(at + DIRENT_SIZE + DIRENT.nameoff, true);
    if (from < namesAt || to <= from || to > bytes.length) {
      throw malformed(`name offset ${from}`, at + DIRENT.nameoff);
    }
    const raw = Buffer.from(bytes.subarray(from, to)).toString('latin1');
    const name = last ? raw.replace(/\0+$/, '') : raw;
    if (name === '' || name.length > NAME_LIMIT || /[\0/]/.test(name)) {
      throw malformed('an impossible name', from);
    }
    if (view.getUint8(at + DIRENT.file_type) > FILE_TYPE_LIMIT) {
      throw malformed('an unknown file type', at + DIRENT.file_type);
    }
    return { name, nid: view.getBigUint64(at + DIRENT.nid, true) };
  });
}
