/**
 * The on-disk format of EROFS, as far as uncompressed images of one device use it (Linux,
 * Documentation/filesystems/erofs.rst; structures and their fields in fs/erofs/erofs_fs.h).
 * All fields are little-endian; offsets are in bytes.
 */

export const BLOCK_BITS = 12;
export const BLOCK_SIZE = 1 << BLOCK_BITS;

/** erofs_super_block */
export const SUPER_OFFSET = 1024;
export const SUPER_SIZE = 128;
export const SUPER_MAGIC = 0xe0f5e1e2;
export const SB = {
  magic: 0,
  checksum: 4,
  feature_compat: 8,
  blkszbits: 12,
  sb_extslots: 13,
  root_nid: 14,
  inos: 16,
  blocks: 36,
  meta_blkaddr: 40,
  feature_incompat: 80,
  extra_devices: 86,
} as const;
export const FEATURE_COMPAT_SB_CHKSUM = 1;
export const FEATURE_COMPAT_MTIME = 2;
/** Where the CRC-32C starts: over the rest of the first block, `checksum` taken as 0, not inverted. */
export const CRC32C_INITIAL = 0xffffffff;

/** An inode's number times this is its offset from meta_blkaddr. */
export const SLOT_SIZE = 32;

/** erofs_inode_compact and erofs_inode_extended */
export const COMPACT_SIZE = 32;
export const EXTENDED_SIZE = 64;
export const COMPACT = { i_nlink: 6, i_size: 8, i_uid: 24, i_gid: 26 } as const;
export const INODE = {
  i_format: 0,
  i_xattr_icount: 2,
  i_mode: 4,
  i_size: 8,
  i_u: 16,
  i_ino: 20,
  i_uid: 24,
  i_gid: 28,
  i_mtime: 32,
  i_mtime_nsec: 40,
  i_nlink: 44,
} as const;

/** i_format: bit 0 tells an extended inode, bits 1 to 3 the data layout. */
export const FORMAT_EXTENDED = 1;
export const LAYOUT_SHIFT = 1;
export const LAYOUT_MASK = 7;
export const FLAT_PLAIN = 0;
export const FLAT_INLINE = 2;

/** st_mode's type bits (POSIX <sys/stat.h>). */
export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFSOCK = 0o140000;

/** erofs_dirent: nid, nameoff, file_type (FT_* of the kernel's fs_types.h). */
export const DIRENT_SIZE = 12;
export const DIRENT = { nid: 0, nameoff: 8, file_type: 10 } as const;
export const NAME_LIMIT = 255;

/** Most bytes of a symbolic link's target (PATH_MAX without the NUL). */
export const TARGET_LIMIT = 4095;

/** A device number as the format stores it: 12 bits of major and 20 of minor (Linux, kdev_t.h). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

/** The opposite of `encodeDevice`. */
export function decodeDevice(value: number): { readonly major: number; readonly minor: number } {
  return { major: (value >>> 8) & 0xfff, minor: (value & 0xff) | ((value >>> 12) & 0xfff00) };
}
