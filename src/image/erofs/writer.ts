/**
 * Writes the metadata of an EROFS image: superblock, inodes, directories. The files' bytes lie in blobs
 * that follow it on the same device, each at a block boundary, so images that name one blob share its
 * pages, and every regular file is one run of whole pages that DAX can map (FLAT_PLAIN). Tails of
 * directories and targets of links, which no guest maps, stand behind their inodes. The same tree gives
 * the same bytes (Linux, Documentation/filesystems/erofs.rst).
 */
import { PandoError } from '../../error.js';
import { type Directory, displayName, type Inode, sortedEntries } from '../file-tree.js';
import { crc32c } from './crc32c.js';
import { blockContentSize, type Dirent, splitDirectory, writeDirectoryBlock } from './directory.js';
import {
  BLOCK_BITS,
  BLOCK_SIZE,
  CRC32C_INITIAL,
  EXTENDED_SIZE,
  encodeDevice,
  FEATURE_COMPAT_MTIME,
  FEATURE_COMPAT_SB_CHKSUM,
  FLAT_INLINE,
  FLAT_PLAIN,
  FORMAT_EXTENDED,
  INODE,
  LAYOUT_SHIFT,
  NAME_LIMIT,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
  SB,
  SLOT_SIZE,
  SUPER_MAGIC,
  SUPER_OFFSET,
  SUPER_SIZE,
  TARGET_LIMIT,
} from './format.js';
import { encodeXattrs, xattrCount } from './xattr.js';

const TYPES: Readonly<Record<Inode['kind'], number>> = {
  file: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
};

/** Block addresses have 32 bits. */
const BLOCKS_LIMIT = 2 ** 32 - 1;

/** A blob of file data, in the order in which blobs follow the metadata. */
export interface DataBlob {
  /** What `FileData.blob` calls it. */
  readonly name: string;
  /** Bytes, a multiple of the block size. */
  readonly size: number;
}

/** Where an inode and its own bytes are. */
interface Placed {
  readonly inode: Inode;
  readonly ino: number;
  readonly offset: number;
  readonly xattrs: Uint8Array;
  /** Bytes behind the inode and its attributes. */
  readonly inline: boolean;
  /** First block of what does not stand inline, in blocks behind the inodes. */
  readonly block: number;
  /** The directory's blocks. */
  readonly blocks: readonly (readonly Dirent[])[];
  /** i_size of a directory or symbolic link. */
  readonly size: number;
  readonly parent: Directory;
  links: number;
}

const blocksOf = (size: number) => Math.ceil(size / BLOCK_SIZE);

function checkName(name: string): void {
  if (name.length <= NAME_LIMIT && !/^\.{0,2}$/.test(name) && !/[\0/]/.test(name)) return;
  const shown = JSON.stringify(displayName(name));
  throw new PandoError('EROFS_BAD_NAME', `${shown} cannot be the name of a file`, {
    remedy: `names have 1 to ${NAME_LIMIT} bytes without "/" and NUL`,
  });
}

/** Gives every inode its place; directories come in breadth-first order, their entries together. */
class Placement {
  readonly placed = new Map<Inode, Placed>();
  /** End of the inodes. */
  end = SUPER_OFFSET + SUPER_SIZE;
  /** Blocks taken behind the inodes. */
  blocks = 0;

  constructor(root: Directory) {
    this.place(root, root);
    // A Map is walked in the order of insertion, additions included.
    for (const { inode } of this.placed.values()) {
      if (inode.kind !== 'directory') continue;
      for (const [name, child] of sortedEntries(inode)) {
        checkName(name);
        const known = this.placed.get(child);
        if (known === undefined) this.place(child, inode);
        else if (child.kind === 'directory') {
          throw new PandoError(
            'EROFS_DIRECTORY_LINK',
            `directory ${displayName(name)} has two names`,
          );
        } else known.links++;
      }
    }
  }

  private place(inode: Inode, parent: Directory): void {
    const xattrs = encodeXattrs(inode.xattrs);
    const fixed = EXTENDED_SIZE + xattrs.length;
    const blocks =
      inode.kind === 'directory'
        ? splitDirectory([...inode.entries].map(([name, { kind }]) => ({ name, kind })))
        : [];
    let size = 0;
    let links = 1;
    if (inode.kind === 'directory') {
      size = (blocks.length - 1) * BLOCK_SIZE + blockContentSize(blocks.at(-1)!);
      const children = [...inode.entries.values()];
      links = 2 + children.filter(({ kind }) => kind === 'directory').length;
    } else if (inode.kind === 'symlink') {
      size = inode.target.length;
      if (size === 0 || size > TARGET_LIMIT) {
        throw new PandoError(
          'EROFS_BAD_TARGET',
          `a symbolic link's target has ${size} bytes, allowed are 1 to ${TARGET_LIMIT}`,
        );
      }
    }
    const tail = blocks.length === 0 ? size : size % BLOCK_SIZE;
    const inline = tail > 0 && fixed + tail <= BLOCK_SIZE;
    const uncut = inline ? fixed + tail : EXTENDED_SIZE;
    const room = BLOCK_SIZE - (this.end % BLOCK_SIZE);
    const offset = room < uncut ? this.end + room : this.end;
    this.end = offset + Math.ceil((fixed + (inline ? tail : 0)) / SLOT_SIZE) * SLOT_SIZE;
    const ino = this.placed.size + 1;
    this.placed.set(inode, {
      ...{ inode, ino, offset, xattrs, inline, blocks, size, parent, links },
      block: this.blocks,
    });
    this.blocks += blocksOf(inline ? size - tail : size);
  }
}

/** Writes what a symbolic link or a directory has, whole blocks into `area`, the tail into `tail`. */
function writeContent(
  item: Placed,
  area: Uint8Array,
  tail: Uint8Array,
  nidOf: (inode: Inode) => number,
): void {
  const { inode } = item;
  if (inode.kind === 'symlink') {
    (item.inline ? tail : area).set(Buffer.from(inode.target, 'latin1'));
    return;
  }
  if (inode.kind !== 'directory') return;
  item.blocks.forEach((block, index) => {
    const last = index === item.blocks.length - 1;
    const target = item.inline && last ? tail : area.subarray(index * BLOCK_SIZE);
    writeDirectoryBlock(target, block, (name) => {
      if (name === '.') return nidOf(inode);
      return nidOf(name === '..' ? item.parent : inode.entries.get(name)!);
    });
  });
}

function writeInode(view: DataView, item: Placed, layout: number, u: number, size: number): void {
  const { inode, offset } = item;
  view.setUint16(offset + INODE.i_format, FORMAT_EXTENDED | (layout << LAYOUT_SHIFT), true);
  view.setUint16(offset + INODE.i_xattr_icount, xattrCount(item.xattrs.length), true);
  view.setUint16(offset + INODE.i_mode, TYPES[inode.kind] | (inode.permissions & 0o7777), true);
  view.setBigUint64(offset + INODE.i_size, BigInt(size), true);
  view.setUint32(offset + INODE.i_u, u, true);
  view.setUint32(offset + INODE.i_ino, item.ino, true);
  view.setUint32(offset + INODE.i_uid, inode.uid, true);
  view.setUint32(offset + INODE.i_gid, inode.gid, true);
  view.setBigInt64(offset + INODE.i_mtime, BigInt(inode.mtime), true);
  view.setUint32(offset + INODE.i_mtime_nsec, inode.mtimeNanoseconds, true);
  view.setUint32(offset + INODE.i_nlink, item.links, true);
}

/** Where each blob begins, in blocks, by its name. */
function blobBlocks(
  first: number,
  blobs: readonly DataBlob[],
): { starts: Map<string, number>; end: number } {
  const starts = new Map<string, number>();
  let end = first;
  for (const { name, size } of blobs) {
    if (size % BLOCK_SIZE !== 0) {
      throw new PandoError(
        'EROFS_BLOB_UNALIGNED',
        `blob ${name} has ${size} bytes, which is not a multiple of ${BLOCK_SIZE}`,
      );
    }
    starts.set(name, end);
    end += size / BLOCK_SIZE;
  }
  if (end <= BLOCKS_LIMIT) return { starts, end };
  throw new PandoError(
    'EROFS_TOO_LARGE',
    `the file system would have ${end} blocks, the limit is ${BLOCKS_LIMIT}`,
  );
}

/** i_u and i_size of an inode that is not a directory or link. */
function dataOf(inode: Inode, starts: ReadonlyMap<string, number>): { u: number; size: number } {
  if (inode.kind === 'character' || inode.kind === 'block') {
    return { u: encodeDevice(inode.major, inode.minor), size: 0 };
  }
  if (inode.kind !== 'file' || inode.size === 0) return { u: 0, size: 0 };
  const start = starts.get(inode.data.blob);
  if (start === undefined || inode.data.offset % BLOCK_SIZE !== 0) {
    throw new PandoError(
      'EROFS_DATA_MISSING',
      `file data at offset ${inode.data.offset} of blob ${inode.data.blob} is in no block of the image`,
    );
  }
  return { u: start + inode.data.offset / BLOCK_SIZE, size: inode.size };
}

/**
 * The metadata of a file system.
 * @param root every directory below it has one name
 * @param blobs what lies behind the metadata, in this order; all that the tree's files name
 * @returns bytes, a multiple of the block size
 * @throws PandoError EROFS_BAD_NAME, EROFS_BAD_TARGET, EROFS_DIRECTORY_LINK, EROFS_DATA_MISSING,
 *   EROFS_BLOB_UNALIGNED, EROFS_TOO_LARGE, EROFS_XATTR_UNSUPPORTED, EROFS_XATTR_TOO_LARGE
 */
export function writeErofs(root: Directory, blobs: readonly DataBlob[]): Uint8Array {
  const { placed, end, blocks } = new Placement(root);
  const areaBlock = blocksOf(end);
  const total = areaBlock + blocks;
  const { starts, end: endBlock } = blobBlocks(total, blobs);
  const bytes = new Uint8Array(total * BLOCK_SIZE);
  const view = new DataView(bytes.buffer);
  const nidOf = (inode: Inode) => placed.get(inode)!.offset / SLOT_SIZE;
  for (const item of placed.values()) {
    const { inode } = item;
    const own = inode.kind === 'directory' || inode.kind === 'symlink';
    const { u, size } = own
      ? { u: areaBlock + item.block, size: item.size }
      : dataOf(inode, starts);
    writeInode(view, item, item.inline ? FLAT_INLINE : FLAT_PLAIN, u, size);
    const behind = item.offset + EXTENDED_SIZE;
    bytes.set(item.xattrs, behind);
    const area = bytes.subarray((areaBlock + item.block) * BLOCK_SIZE);
    writeContent(item, area, bytes.subarray(behind + item.xattrs.length), nidOf);
  }
  const compat = FEATURE_COMPAT_SB_CHKSUM | FEATURE_COMPAT_MTIME;
  view.setUint32(SUPER_OFFSET + SB.magic, SUPER_MAGIC, true);
  view.setUint32(SUPER_OFFSET + SB.feature_compat, compat, true);
  view.setUint8(SUPER_OFFSET + SB.blkszbits, BLOCK_BITS);
  view.setUint16(SUPER_OFFSET + SB.root_nid, nidOf(root), true);
  view.setBigUint64(SUPER_OFFSET + SB.inos, BigInt(placed.size), true);
  view.setUint32(SUPER_OFFSET + SB.blocks, endBlock, true);
  const sum = crc32c(CRC32C_INITIAL, bytes.subarray(SUPER_OFFSET, BLOCK_SIZE));
  view.setUint32(SUPER_OFFSET + SB.checksum, sum, true);
  return bytes;
}
