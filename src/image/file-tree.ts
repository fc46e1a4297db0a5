/**
 * A root file system in memory: inodes and the names that lead to them, without the files' bytes, which
 * stay where they are in a data blob. Names, symbolic link targets and names of extended attributes are
 * byte strings: one character for each byte (Latin-1), so that any name of Linux is kept as it is and
 * code unit order is byte order.
 */

/** What every inode has (inode(7)). */
interface Attributes {
  /** The low 12 bits of st_mode: permissions, set-user-ID, set-group-ID, sticky. */
  readonly permissions: number;
  /** 0 to 2^32 - 1. */
  readonly uid: number;
  /** 0 to 2^32 - 1. */
  readonly gid: number;
  /** Modification time in whole seconds since 1970, rounded down; negative before. */
  readonly mtime: number;
  /** Nanoseconds to add to `mtime`, 0 to 999,999,999. */
  readonly mtimeNanoseconds: number;
  /** Extended attributes by their full name, such as `user.mime_type`. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/** Where a file's bytes are: one run of a blob, from a block boundary on. */
export interface FileData {
  /** Names the blob (its SHA-256, for one of the store); empty for a file without bytes. */
  readonly blob: string;
  /** Offset in the blob, a multiple of 4096. */
  readonly offset: number;
}

export type RegularFile = Attributes & {
  readonly kind: 'file';
  /** Bytes. */
  readonly size: number;
  readonly data: FileData;
};

export type Directory = Attributes & {
  readonly kind: 'directory';
  /** Without `.` and `..`. */
  readonly entries: Map<string, Inode>;
};

type SymbolicLink = Attributes & { readonly kind: 'symlink'; readonly target: string };

type Device = Attributes & {
  readonly kind: 'character' | 'block';
  /** 0 to 4095. */
  readonly major: number;
  /** 0 to 2^20 - 1. */
  readonly minor: number;
};

type Endpoint = Attributes & { readonly kind: 'fifo' | 'socket' };

/** One inode. Two names of one object are hard links. */
export type Inode = RegularFile | Directory | SymbolicLink | Device | Endpoint;

const decoder = new TextDecoder();

/** A text as a byte string, in UTF-8. */
export function byteString(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** A byte string for people; bytes that are no UTF-8 become U+FFFD. */
export function displayName(bytes: string): string {
  return decoder.decode(Buffer.from(bytes, 'latin1'));
}

/** The entries of a directory in byte order. */
export function sortedEntries(directory: Directory): [string, Inode][] {
  return [...directory.entries].sort(([a], [b]) => (a < b ? -1 : 1));
}

/**
 * Every name below a directory with its inode, parents before children, in byte order. The recursion is
 * kept on a list: a path may have thousands of parts.
 * @returns paths without a leading slash
 */
export function* walk(root: Directory): Generator<[path: string, inode: Inode]> {
  const waiting = sortedEntries(root).reverse();
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    yield next;
    const [path, inode] = next;
    if (inode.kind !== 'directory') continue;
    const children = sortedEntries(inode).map(([name, child]): [string, Inode] => [
      `${path}/${name}`,
      child,
    ]);
    waiting.push(...children.reverse());
  }
}
