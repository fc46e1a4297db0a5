/**
 * Reads EROFS images of one device that are not compressed: those of writer.ts, and what mkfs.erofs
 * makes by default (Linux, Documentation/filesystems/erofs.rst). Nothing that an image says is
 * believed: every offset is checked, every directory is entered once.
 */
import { PandoError } from '../../error.js';
import type { ByteSource } from '../../loader/byte-source.js';
import { type Directory, displayName, type Inode } from '../file-tree.js';
import { crc32c } from './crc32c.js';
import { type ReadDirent, readDirectoryBlock } from './directory.js';
import {
  BLOCK_BITS,
  BLOCK_SIZE,
  COMPACT,
  COMPACT_SIZE,
  CRC32C_INITIAL,
  decodeDevice,
  EXTENDED_SIZE,
  FEATURE_COMPAT_SB_CHKSUM,
  FLAT_INLINE,
  FLAT_PLAIN,
  FORMAT_EXTENDED,
  INODE,
  LAYOUT_MASK,
  LAYOUT_SHIFT,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  SB,
  SLOT_SIZE,
  SUPER_MAGIC,
  SUPER_OFFSET,
  SUPER_SIZE,
  TARGET_LIMIT,
} from './format.js';
import { decodeXattrs, xattrBodySize } from './xattr.js';

/** More than any image has; keeps a hostile one from filling the memory. */
const INODE_LIMIT = 4_000_000;
/** Bytes of directories that one image may have. */
const DIRECTORY_BYTES_LIMIT = 1 << 30;

/** An inode's header, checked. */
interface Header {
  readonly offset: number;
  readonly headerSize: number;
  readonly xattrSize: number;
  readonly layout: number;
  readonly mode: number;
  readonly size: number;
  readonly u: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly mtimeNanoseconds: number;
}

function malformed(what: string, offset: number): PandoError {
  return new PandoError('EROFS_MALFORMED', `EROFS image: ${what} at offset ${offset}`, {
    remedy: 'make or fetch the image again',
  });
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** An image that is being read. `FileData.offset` of its files is an offset of the image itself. */
export class ErofsReader {
  /** Inode count that the superblock states. */
  readonly inodes: number;
  private readonly rootNid: bigint;
  private readonly metadata: number;
  private readonly buildTime: number;
  private readonly known = new Map<bigint, Inode>();
  private directoryBytes = 0;

  /** @throws PandoError EROFS_MALFORMED, EROFS_UNSUPPORTED */
  constructor(private readonly source: ByteSource) {
    const first = this.bytes(0, BLOCK_SIZE, 'the first block').slice();
    const view = viewOf(first.subarray(SUPER_OFFSET, SUPER_OFFSET + SUPER_SIZE));
    if (view.getUint32(SB.magic, true) !== SUPER_MAGIC) {
      throw malformed('no superblock magic', SUPER_OFFSET);
    }
    const incompatible = view.getUint32(SB.feature_incompat, true);
    const devices = view.getUint16(SB.extra_devices, true);
    const blockBits = view.getUint8(SB.blkszbits);
    // Bit 0 only tells where compressed data is padded, and nothing compressed is read.
    if ((incompatible & ~1) !== 0 || devices !== 0 || blockBits !== BLOCK_BITS) {
      throw new PandoError(
        'EROFS_UNSUPPORTED',
        `EROFS image: features 0x${incompatible.toString(16)}, ${devices} extra devices, ` +
          `blocks of 2^${blockBits} bytes; read are none, none and 2^${BLOCK_BITS}`,
      );
    }
    if ((view.getUint32(SB.feature_compat, true) & FEATURE_COMPAT_SB_CHKSUM) !== 0) {
      const stored = view.getUint32(SB.checksum, true);
      view.setUint32(SB.checksum, 0, true);
      if (crc32c(CRC32C_INITIAL, first.subarray(SUPER_OFFSET)) !== stored) {
        throw malformed('a wrong checksum', SUPER_OFFSET + SB.checksum);
      }
    }
    this.rootNid = BigInt(view.getUint16(SB.root_nid, true));
    this.metadata = view.getUint32(SB.meta_blkaddr, true) * BLOCK_SIZE;
    this.inodes = Number(view.getBigUint64(SB.inos, true));
    this.buildTime = Number(view.getBigInt64(24, true));
  }

  private bytes(offset: number, length: number, what: string): Uint8Array {
    const inside =
      Number.isSafeInteger(offset) && offset >= 0 && length <= this.source.size - offset;
    if (!inside) throw malformed(`${what} of ${length} bytes past the end`, offset);
    return this.source.read(offset, length);
  }

  private header(nid: bigint): Header {
    const offset = this.metadata + Number(nid) * SLOT_SIZE;
    const view = viewOf(this.bytes(offset, COMPACT_SIZE, 'an inode'));
    const format = view.getUint16(INODE.i_format, true);
    const extended = (format & FORMAT_EXTENDED) !== 0;
    const layout = (format >>> LAYOUT_SHIFT) & LAYOUT_MASK;
    if (layout !== FLAT_PLAIN && layout !== FLAT_INLINE) {
      throw new PandoError(
        'EROFS_UNSUPPORTED',
        `EROFS image: inode of layout ${layout} at ${offset}`,
      );
    }
    const common = {
      offset,
      layout,
      headerSize: extended ? EXTENDED_SIZE : COMPACT_SIZE,
      xattrSize: xattrBodySize(view.getUint16(INODE.i_xattr_icount, true)),
      mode: view.getUint16(INODE.i_mode, true),
      u: view.getUint32(INODE.i_u, true),
    };
    if (!extended) {
      return {
        ...common,
        size: view.getUint32(COMPACT.i_size, true),
        uid: view.getUint16(COMPACT.i_uid, true),
        gid: view.getUint16(COMPACT.i_gid, true),
        mtime: this.buildTime,
        mtimeNanoseconds: 0,
      };
    }
    const whole = viewOf(this.bytes(offset, EXTENDED_SIZE, 'an inode'));
    const size = Number(whole.getBigUint64(INODE.i_size, true));
    const mtimeNanoseconds = whole.getUint32(INODE.i_mtime_nsec, true);
    if (!Number.isSafeInteger(size)) throw malformed('an impossible size', offset + INODE.i_size);
    if (mtimeNanoseconds >= 1e9) throw malformed('a time of too many nanoseconds', offset);
    return {
      ...common,
      size,
      uid: whole.getUint32(INODE.i_uid, true),
      gid: whole.getUint32(INODE.i_gid, true),
      mtime: Number(whole.getBigInt64(INODE.i_mtime, true)),
      mtimeNanoseconds,
    };
  }

  /** A directory's or link's bytes: whole blocks, and perhaps a tail behind the inode. */
  private content(header: Header, limit: number): Uint8Array {
    const { size, layout, offset, headerSize, xattrSize, u } = header;
    if (size > limit) throw malformed(`an inode of ${size} bytes`, offset);
    const tail = layout === FLAT_INLINE ? size % BLOCK_SIZE || Math.min(size, BLOCK_SIZE) : 0;
    const joined = new Uint8Array(size);
    joined.set(this.bytes(size === tail ? 0 : u * BLOCK_SIZE, size - tail, 'an inode’s blocks'));
    joined.set(this.bytes(offset + headerSize + xattrSize, tail, 'an inode’s tail'), size - tail);
    return joined;
  }

  private dirents(header: Header): ReadDirent[] {
    this.directoryBytes += header.size;
    const bytes = this.content(header, DIRECTORY_BYTES_LIMIT - this.directoryBytes + header.size);
    const all: ReadDirent[] = [];
    for (let at = 0; at < bytes.length; at += BLOCK_SIZE) {
      const at0 = header.offset;
      const block = bytes.subarray(at, at + BLOCK_SIZE);
      all.push(...readDirectoryBlock(block, (what) => malformed(`${what}, directory inode`, at0)));
    }
    for (let index = 1; index < all.length; index++) {
      if (all[index - 1]!.name >= all[index]!.name) {
        throw malformed('names out of order, directory inode', header.offset);
      }
    }
    return all;
  }

  /** An inode; a directory's entries are left empty. */
  private inode(nid: bigint): { readonly inode: Inode; readonly header: Header } {
    const header = this.header(nid);
    if (this.known.size >= INODE_LIMIT) throw malformed('more inodes than allowed', header.offset);
    const { offset, headerSize, xattrSize, mode, uid, gid, mtime, mtimeNanoseconds } = header;
    const body = this.bytes(offset + headerSize, xattrSize, 'extended attributes');
    const attributes = {
      ...{ permissions: mode & 0o7777, uid, gid, mtime, mtimeNanoseconds },
      xattrs: decodeXattrs(body, (what, at) => malformed(what, offset + headerSize + at)),
    };
    return { header, inode: this.inodeOf(header, attributes) };
  }

  private inodeOf(
    header: Header,
    attributes: Pick<
      Inode,
      'permissions' | 'uid' | 'gid' | 'mtime' | 'mtimeNanoseconds' | 'xattrs'
    >,
  ): Inode {
    const { mode, size, u, layout, offset } = header;
    switch (mode & S_IFMT) {
      case S_IFREG: {
        const inline = layout === FLAT_INLINE && size > 0;
        if (inline && size > BLOCK_SIZE) {
          throw new PandoError(
            'EROFS_UNSUPPORTED',
            `EROFS image: file data in two places, ${offset}`,
          );
        }
        const at = inline ? offset + header.headerSize + header.xattrSize : u * BLOCK_SIZE;
        if (size > 0) this.bytes(at, 0, 'file data');
        if (size > this.source.size - at && size > 0)
          throw malformed('file data past the end', offset);
        return { ...attributes, kind: 'file', size, data: { blob: '', offset: size > 0 ? at : 0 } };
      }
      case S_IFDIR:
        return { ...attributes, kind: 'directory', entries: new Map() };
      case S_IFLNK: {
        const target = Buffer.from(this.content(header, TARGET_LIMIT)).toString('latin1');
        return { ...attributes, kind: 'symlink', target };
      }
      case S_IFCHR:
        return { ...attributes, kind: 'character', ...decodeDevice(u) };
      case S_IFBLK:
        return { ...attributes, kind: 'block', ...decodeDevice(u) };
      case S_IFIFO:
        return { ...attributes, kind: 'fifo' };
      case S_IFSOCK:
        return { ...attributes, kind: 'socket' };
      default:
        throw malformed(`an inode of mode 0${mode.toString(8)}`, offset);
    }
  }

  /**
   * The whole tree.
   * @throws PandoError EROFS_MALFORMED, EROFS_UNSUPPORTED
   */
  tree(): Directory {
    const root = this.inode(this.rootNid);
    if (root.inode.kind !== 'directory')
      throw malformed('a root that is no directory', root.header.offset);
    this.known.clear();
    this.known.set(this.rootNid, root.inode);
    const waiting = [{ directory: root.inode, header: root.header }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      for (const { name, nid } of this.dirents(next.header)) {
        if (name === '.' || name === '..') continue;
        const known = this.known.get(nid);
        if (known?.kind === 'directory') {
          throw malformed(`directory ${displayName(name)} with two names`, next.header.offset);
        }
        if (known !== undefined) {
          next.directory.entries.set(name, known);
          continue;
        }
        const { inode, header } = this.inode(nid);
        this.known.set(nid, inode);
        next.directory.entries.set(name, inode);
        if (inode.kind === 'directory') waiting.push({ directory: inode, header });
      }
    }
    return root.inode;
  }

  /** Bytes of a file of this image, from `offset` on. */
  read(
    file: { readonly size: number; readonly data: { readonly offset: number } },
    offset = 0,
    length = file.size - offset,
  ): Uint8Array {
    return this.bytes(file.data.offset + offset, length, 'file data');
  }
}
