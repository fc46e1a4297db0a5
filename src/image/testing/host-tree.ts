/** A folder of this host as a tree, extended attributes included (llistxattr(2), lgetxattr(2)). */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { byteString, type Directory, type Inode } from '../file-tree.js';

const libc = koffi.load('libc.so.6');
const llistxattr = libc.func('intptr_t llistxattr(const char *path, void *list, size_t size)');
const lgetxattr = libc.func(
  'intptr_t lgetxattr(const char *path, const char *name, void *value, size_t size)',
);
const LIST_SIZE = 1 << 16;

function xattrsOf(path: string): Map<string, Uint8Array> {
  const list = Buffer.alloc(LIST_SIZE);
  const length = Number(llistxattr(path, list, LIST_SIZE));
  const names = list.toString('latin1', 0, Math.max(0, length)).split('\0').filter(Boolean);
  return new Map(
    names.map((name) => {
      const value = Buffer.alloc(LIST_SIZE);
      return [name, value.subarray(0, Number(lgetxattr(path, name, value, LIST_SIZE)))];
    }),
  );
}

/** The tree, and how to read its files. */
export interface HostTree {
  readonly root: Directory;
  read(file: Inode): Uint8Array;
}

/** Reads a folder; every path of it must be readable. */
export function readHostTree(folder: string): HostTree {
  const known = new Map<number, Inode>();
  const paths = new Map<Inode, string>();
  const read = (path: string): Inode => {
    const found = lstatSync(path, { bigint: true });
    const linked = known.get(Number(found.ino));
    if (linked !== undefined) return linked;
    const nanoseconds = ((found.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    const attributes = {
      permissions: Number(found.mode) & 0o7777,
      uid: Number(found.uid),
      gid: Number(found.gid),
      mtime: Number((found.mtimeNs - nanoseconds) / 1_000_000_000n),
      mtimeNanoseconds: Number(nanoseconds),
      xattrs: xattrsOf(path),
    };
    const inode = ((): Inode => {
      if (found.isDirectory()) {
        const children = readdirSync(path).map((name): [string, Inode] => [
          byteString(name),
          read(join(path, name)),
        ]);
        return { ...attributes, kind: 'directory', entries: new Map(children) };
      }
      if (found.isSymbolicLink()) {
        return { ...attributes, kind: 'symlink', target: byteString(readlinkSync(path)) };
      }
      if (found.isFIFO()) return { ...attributes, kind: 'fifo' };
      if (found.isCharacterDevice() || found.isBlockDevice()) {
        const rdev = Number(found.rdev);
        const kind = found.isBlockDevice() ? 'block' : 'character';
        const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
        return { ...attributes, kind, major: (rdev >>> 8) & 0xfff, minor };
      }
      const data = { blob: '', offset: 0 };
      return { ...attributes, kind: 'file', size: Number(found.size), data };
    })();
    known.set(Number(found.ino), inode);
    paths.set(inode, path);
    return inode;
  };
  const root = read(folder) as Directory;
  return { root, read: (file) => readFileSync(paths.get(file)!) };
}
