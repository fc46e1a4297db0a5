/**
 * An empty ext4 file system, as `mkfs.ext4 -O ^has_journal` leaves one, for disks that end with their VM: it
 * has no journal, and all but the descriptors, the bitmaps and two directories are holes of a sparse file.
 * Source: Linux, Documentation/filesystems/ext4 (super block, block group descriptors, bitmaps, inode table,
 * extents, directory entries).
 */
import { type FileHandle, open } from 'node:fs/promises';

const BLOCK = 4096;
const BLOCKS_PER_GROUP = 8 * BLOCK;
const INODE = 256;
/** One for 16 KiB, as mke2fs.conf(5) has it. */
const INODES_PER_GROUP = 8192;
const TABLE_BLOCKS = (INODES_PER_GROUP * INODE) / BLOCK;
const DESCRIPTOR = 32;
/** A group has its bitmaps and its inode table, and is worth having with room for some files behind. */
const GROUP_LEAST = TABLE_BLOCKS + 256;

const SUPER_OFFSET = 1024;
const SUPER_MAGIC = 0xef53;
const COMPAT_EXT_ATTR = 0x8;
const INCOMPAT_FILETYPE = 0x2;
const INCOMPAT_EXTENTS = 0x40;
const RO_COMPAT_SPARSE_SUPER = 0x1;
const RO_COMPAT_LARGE_FILE = 0x2;
const RO_COMPAT_EXTRA_ISIZE = 0x40;

const ROOT_INODE = 2;
/** Those below are reserved; `lost+found` is the first that is not. */
const FIRST_INODE = 11;
const EXTENTS_FLAG = 0x80000;
const EXTENT_MAGIC = 0xf30a;
const EXTRA_ISIZE = 32;
const S_IFDIR = 0o040000;
const FILE_TYPE_DIRECTORY = 2;

/** Where the parts of a group are, in blocks of the file system. */
interface Group {
  readonly start: number;
  readonly blocks: number;
  /** Its copy of super block and descriptors, in blocks; 0 for a group without. */
  readonly copy: number;
  readonly bitmap: number;
  /** Blocks that are in use. */
  used: number;
}

/** Groups 0 and 1, and powers of 3, 5 and 7 have a copy (sparse_super). */
function hasCopy(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

function layOut(bytes: number): { readonly groups: Group[]; readonly descriptorBlocks: number } {
  let blocks = Math.floor(bytes / BLOCK);
  const count = Math.ceil(blocks / BLOCKS_PER_GROUP);
  const descriptorBlocks = Math.ceil((count * DESCRIPTOR) / BLOCK);
  const groups: Group[] = [];
  for (let start = 0; blocks > 0; start += BLOCKS_PER_GROUP) {
    const own = Math.min(blocks, BLOCKS_PER_GROUP);
    blocks -= own;
    const copy = hasCopy(groups.length) ? 1 + descriptorBlocks : 0;
    // A last group that would hold little more than its own tables is left away.
    if (own < GROUP_LEAST + copy && groups.length > 0) break;
    groups.push({ start, blocks: own, copy, bitmap: start + copy, used: copy + 2 + TABLE_BLOCKS });
  }
  return { groups, descriptorBlocks };
}

function setBits(bitmap: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; bit += 1) bitmap[bit >>> 3]! |= 1 << (bit & 7);
}

/** A directory's inode with one block. */
function directoryInode(block: number, links: number, permissions: number, time: number): Buffer {
  const inode = Buffer.alloc(INODE);
  inode.writeUInt16LE(S_IFDIR | permissions, 0x0);
  inode.writeUInt32LE(BLOCK, 0x4);
  for (const at of [0x8, 0xc, 0x10]) inode.writeUInt32LE(time, at);
  inode.writeUInt16LE(links, 0x1a);
  inode.writeUInt32LE(BLOCK / 512, 0x1c);
  inode.writeUInt32LE(EXTENTS_FLAG, 0x20);
  inode.writeUInt16LE(EXTENT_MAGIC, 0x28);
  inode.writeUInt16LE(1, 0x2a);
  inode.writeUInt16LE(4, 0x2c);
  // The one extent: file block 0, one block long.
  inode.writeUInt16LE(1, 0x38);
  inode.writeUInt32LE(block, 0x3c);
  inode.writeUInt16LE(EXTRA_ISIZE, 0x80);
  return inode;
}

/** A directory's block: the entries, the last of which reaches to the block's end. */
function directoryBlock(entries: readonly (readonly [name: string, inode: number])[]): Buffer {
  const block = Buffer.alloc(BLOCK);
  let at = 0;
  entries.forEach(([name, inode], index) => {
    const length = index === entries.length - 1 ? BLOCK - at : Math.ceil((8 + name.length) / 4) * 4;
    block.writeUInt32LE(inode, at);
    block.writeUInt16LE(length, at + 4);
    block.writeUInt8(name.length, at + 6);
    block.writeUInt8(FILE_TYPE_DIRECTORY, at + 7);
    block.write(name, at + 8, 'latin1');
    at += length;
  });
  return block;
}

function superBlock(groups: readonly Group[], uuid: Uint8Array, time: number): Buffer {
  const last = groups.at(-1)!;
  const blocks = last.start + last.blocks;
  const used = groups.reduce((sum, group) => sum + group.used, 0);
  const inodes = groups.length * INODES_PER_GROUP;
  const bytes = Buffer.alloc(1024);
  bytes.writeUInt32LE(inodes, 0x0);
  bytes.writeUInt32LE(blocks, 0x4);
  bytes.writeUInt32LE(blocks - used, 0xc);
  bytes.writeUInt32LE(inodes - FIRST_INODE, 0x10);
  bytes.writeUInt32LE(2, 0x18);
  bytes.writeUInt32LE(2, 0x1c);
  bytes.writeUInt32LE(BLOCKS_PER_GROUP, 0x20);
  bytes.writeUInt32LE(BLOCKS_PER_GROUP, 0x24);
  bytes.writeUInt32LE(INODES_PER_GROUP, 0x28);
  bytes.writeUInt32LE(time, 0x30);
  bytes.writeUInt16LE(0xffff, 0x36);
  bytes.writeUInt16LE(SUPER_MAGIC, 0x38);
  // Clean; errors are gone past; revision 1.
  bytes.writeUInt16LE(1, 0x3a);
  bytes.writeUInt16LE(1, 0x3c);
  bytes.writeUInt32LE(time, 0x40);
  bytes.writeUInt32LE(1, 0x4c);
  bytes.writeUInt32LE(FIRST_INODE, 0x54);
  bytes.writeUInt16LE(INODE, 0x58);
  bytes.writeUInt32LE(COMPAT_EXT_ATTR, 0x5c);
  bytes.writeUInt32LE(INCOMPAT_FILETYPE | INCOMPAT_EXTENTS, 0x60);
  bytes.writeUInt32LE(RO_COMPAT_SPARSE_SUPER | RO_COMPAT_LARGE_FILE | RO_COMPAT_EXTRA_ISIZE, 0x64);
  bytes.set(uuid, 0x68);
  bytes.writeUInt32LE(time, 0x108);
  bytes.writeUInt16LE(EXTRA_ISIZE, 0x15c);
  bytes.writeUInt16LE(EXTRA_ISIZE, 0x15e);
  return bytes;
}

function descriptors(groups: readonly Group[], blocks: number): Buffer {
  const table = Buffer.alloc(blocks * BLOCK);
  groups.forEach(({ bitmap, blocks: all, used }, index) => {
    const at = index * DESCRIPTOR;
    table.writeUInt32LE(bitmap, at);
    table.writeUInt32LE(bitmap + 1, at + 4);
    table.writeUInt32LE(bitmap + 2, at + 8);
    table.writeUInt16LE(all - used, at + 12);
    table.writeUInt16LE(INODES_PER_GROUP - (index === 0 ? FIRST_INODE : 0), at + 14);
    table.writeUInt16LE(index === 0 ? 2 : 0, at + 16);
  });
  return table;
}

async function writeAt(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}

/**
 * Makes a sparse file with an empty file system.
 * @param path of the file, which is not there yet
 * @param bytes EXT4_LEAST to EXT4_MOST
 */
export async function formatExt4(path: string, bytes: number, uuid: Uint8Array): Promise<void> {
  const { groups, descriptorBlocks } = layOut(bytes);
  const first = groups[0]!;
  const root = first.start + first.used;
  first.used += 2;
  const time = Math.floor(Date.now() / 1000);
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(bytes);
    const table = descriptors(groups, descriptorBlocks);
    for (const [index, { start, blocks, copy, bitmap, used }] of groups.entries()) {
      if (copy > 0) {
        const own = superBlock(groups, uuid, time);
        own.writeUInt16LE(index, 0x5a);
        await writeAt(file, own, index === 0 ? SUPER_OFFSET : start * BLOCK);
        await writeAt(file, table, (start + 1) * BLOCK);
      }
      const bitmaps = new Uint8Array(2 * BLOCK);
      setBits(bitmaps, 0, used);
      setBits(bitmaps, blocks, BLOCKS_PER_GROUP);
      const inodes = bitmaps.subarray(BLOCK);
      if (index === 0) setBits(inodes, 0, FIRST_INODE);
      setBits(inodes, INODES_PER_GROUP, BLOCKS_PER_GROUP);
      await writeAt(file, bitmaps, bitmap * BLOCK);
    }
    const inodeAt = (inode: number) => (first.bitmap + 2) * BLOCK + (inode - 1) * INODE;
    await writeAt(file, directoryInode(root, 3, 0o755, time), inodeAt(ROOT_INODE));
    await writeAt(file, directoryInode(root + 1, 2, 0o700, time), inodeAt(FIRST_INODE));
    const above = ['..', ROOT_INODE] as const;
    const entries = [['.', ROOT_INODE], above, ['lost+found', FIRST_INODE]] as const;
    await writeAt(file, directoryBlock(entries), root * BLOCK);
    await writeAt(file, directoryBlock([['.', FIRST_INODE], above]), (root + 1) * BLOCK);
  } finally {
    await file.close();
  }
}
